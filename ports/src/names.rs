//! Closed sets whose members have names on the wire and in columns.

macro_rules! wire_names {
    ($name:ident: $($variant:ident = $text:literal),*) => {
        impl $name {
            /// The wire name.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text),*
                }
            }

            /// The one with this wire name.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                [$(Self::$variant),*].into_iter().find(|known| known.as_str() == text)
            }
        }
    };
}
