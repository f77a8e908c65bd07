//! Kinds of values that the sections share. Each refuses what it cannot be, and says what it should be.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use secrecy::SecretString;
use serde::{
    Deserialize, Deserializer,
    de::{Error as _, Unexpected},
};
use std::{borrow::Cow, ops::Deref};

/// A whole number from `MIN` to `MAX`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Int<const MIN: i64, const MAX: i64>(i64);

/// 0 and less switch a limit off, so only -1 is accepted below 0.
pub type Limit = Int<-1, 1_000_000_000>;
/// How many of something.
pub type Count = Int<0, 1_000_000_000>;

impl<const MIN: i64, const MAX: i64> Int<MIN, MAX> {
    /// The number.
    #[must_use]
    pub fn get(self) -> i64 {
        self.0
    }
}

impl<'de, const MIN: i64, const MAX: i64> Deserialize<'de> for Int<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = i64::deserialize(deserializer)?;
        if (MIN..=MAX).contains(&number) {
            return Ok(Self(number));
        }
        Err(D::Error::invalid_value(Unexpected::Signed(number), &format!("a whole number from {MIN} to {MAX}").as_str()))
    }
}

impl<const MIN: i64, const MAX: i64> JsonSchema for Int<MIN, MAX> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("Int_{MIN}_{MAX}").into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "integer", "minimum": MIN, "maximum": MAX})
    }
}

/// A number from `MIN` to `MAX`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Real<const MIN: i64, const MAX: i64>(f64);

/// A part of a whole.
pub type Share = Real<0, 1>;

impl<const MIN: i64, const MAX: i64> Real<MIN, MAX> {
    /// The number.
    #[must_use]
    pub fn get(self) -> f64 {
        self.0
    }

    #[expect(clippy::cast_precision_loss, reason = "the bounds are small numbers of this file's users")]
    const fn bounds() -> (f64, f64) {
        (MIN as f64, MAX as f64)
    }
}

impl<'de, const MIN: i64, const MAX: i64> Deserialize<'de> for Real<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = f64::deserialize(deserializer)?;
        let (min, max) = Self::bounds();
        if number >= min && number <= max {
            return Ok(Self(number));
        }
        Err(D::Error::invalid_value(Unexpected::Float(number), &format!("a number from {MIN} to {MAX}").as_str()))
    }
}

impl<const MIN: i64, const MAX: i64> JsonSchema for Real<MIN, MAX> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("Real_{MIN}_{MAX}").into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "number", "minimum": MIN, "maximum": MAX})
    }
}

/// A list of strings in which numbers may stand for their digits (chat ids are often written so).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Strings(Vec<String>);

impl Deref for Strings {
    type Target = Vec<String>;
    fn deref(&self) -> &Vec<String> {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Strings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "expected a string or a number")]
        enum Entry {
            Text(String),
            Number(serde_json::Number),
        }
        let text = |entry| match entry {
            Entry::Text(text) => text,
            Entry::Number(number) => number.to_string(),
        };
        Ok(Self(Vec::<Entry>::deserialize(deserializer)?.into_iter().map(text).collect()))
    }
}

impl JsonSchema for Strings {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Strings".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "array", "items": {"type": ["string", "number"]}})
    }
}

/// Something that nobody else may know.
#[derive(Debug, Clone)]
pub struct Secret(SecretString);

impl Deref for Secret {
    type Target = SecretString;
    fn deref(&self) -> &SecretString {
        &self.0
    }
}

impl From<SecretString> for Secret {
    fn from(secret: SecretString) -> Self {
        Self(secret)
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(text.into()))
    }
}

impl JsonSchema for Secret {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Secret".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "format": "password", "writeOnly": true})
    }
}

/// Makes an enum whose values are words of the file.
macro_rules! words {
    ($($(#[doc = $doc:literal])* $name:ident { $($(#[doc = $of:literal])* $variant:ident = $word:literal),+ $(,)? })*) => {$(
        $(#[doc = $doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize, schemars::JsonSchema)]
        pub enum $name {
            $($(#[doc = $of])* #[serde(rename = $word)] $variant),+
        }
    )*};
}
pub(crate) use words;
