//! Links in a text that comes in pieces.

use super::{BARE, FILES, MEDIA, ends};

/// How much is held back at most, in bytes. Nobody writes longer links.
const MOST: usize = 4_096;

/// Holds back what may be a link until all of it is there, so that each piece has whole links only.
#[derive(Default)]
pub(crate) struct LinkStream {
    held: String,
}

impl LinkStream {
    /// Takes the next piece and gives what may go out.
    pub fn push(&mut self, text: &str) -> String {
        self.held.push_str(text);
        let begun = unfinished(&self.held);
        if self.held.len() - begun > MOST {
            return self.finish();
        }
        let rest = self.held.split_off(begun);
        std::mem::replace(&mut self.held, rest)
    }

    /// What is left at the end.
    pub fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }
}

/// Where a link begins that the end of the text may cut; the text's length if there is none.
fn unfinished(text: &str) -> usize {
    let open = text.char_indices().rev().find(|(_, c)| ends(*c)).map_or(0, |(at, c)| at + c.len_utf8());
    let tail = &text[open..];
    let starts = [FILES, MEDIA, BARE];
    if let Some(begun) = starts.iter().filter_map(|start| tail.find(start)).min() {
        return open + begun;
    }
    let cut = starts.iter().flat_map(|start| (1..start.len()).filter(move |length| tail.ends_with(&start[..*length]))).max().unwrap_or(0);
    text.len() - cut
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pieces(pieces: &[&str]) -> Vec<String> {
        let mut stream = LinkStream::default();
        let mut out: Vec<String> = pieces.iter().map(|piece| stream.push(piece)).collect();
        out.push(stream.finish());
        out
    }

    #[test]
    fn a_link_comes_out_whole() {
        assert_eq!(pieces(&["see /v", "1/fi", "les/w/a.p", "ng and"]), ["see ", "", "", "/v1/files/w/a.png and", ""]);
        assert_eq!(pieces(&["[a", "](", "/w/a", ")."]), ["[a", "", "", "](/w/a).", ""]);
        assert_eq!(pieces(&["/v1/media/7"]), ["", "/v1/media/7"]);
        assert_eq!(pieces(&["1 / 2", " [x] y"]), ["1 / 2", " [x] y", ""]);
    }

    #[test]
    fn not_too_much_is_held_back() {
        let long = format!("/v1/files/{}", "x".repeat(MOST));
        assert_eq!(pieces(&[&long]), [long.clone(), String::new()]);
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_no_link_is_cut(parts in proptest::collection::vec("(/v1/files/|/v1|\\]\\(/|[a /)é]){0,4}", 0..12)) {
            let pieces = pieces(&parts.iter().map(String::as_str).collect::<Vec<_>>());
            prop_assert_eq!(pieces.concat(), parts.concat());
            let whole = parts.concat();
            let links = [FILES, MEDIA, BARE].into_iter().flat_map(|start| whole.match_indices(start)).map(|(at, _)| at);
            let links: Vec<_> = links.map(|at| at..at + whole[at..].find(ends).unwrap_or(whole.len() - at)).collect();
            let mut cut = 0;
            for piece in &pieces[..pieces.len() - 1] {
                cut += piece.len();
                prop_assert!(links.iter().all(|link| cut <= link.start || link.end <= cut), "{:?}", pieces);
            }
        }
    }
}
