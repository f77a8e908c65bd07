use super::*;
use proptest::prelude::*;
use std::collections::HashSet;

#[test]
fn the_alphabet_has_32_letters_and_none_that_look_alike() {
    assert_eq!(ALPHABET.iter().collect::<HashSet<_>>().len(), 32);
    assert!(!ALPHABET.iter().any(|letter| b"IO01".contains(letter)));
}

proptest! {
    #[test]
    fn an_alias_tells_secrets_apart_and_holds_none_of_them(one in "[0-9a-f]{64}", other in "[0-9a-f]{64}") {
        let alias = alias_of(&one);
        prop_assert_eq!(alias.len(), "browser-".len() + 32);
        prop_assert_eq!(alias == alias_of(&other), one == other);
        prop_assert!(!alias.contains(&one[..16]));
        prop_assert!(is_secret(&one) && !is_secret(&alias), "an alias opens nothing");
    }
}
