//! How values are written in columns: ids as text, times as microseconds, JSON as text.

use chrono::{DateTime, TimeDelta, Utc};
use rusqlite::{
    Row,
    types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef},
};
use serde::{Serialize, de::DeserializeOwned};
use std::{error::Error as StdError, fmt, str::FromStr};

/// A value kept as its text.
pub(crate) struct Text<T>(pub T);

impl<T: fmt::Display> ToSql for Text<T> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::from(self.0.to_string()))
    }
}

impl<T: FromStr<Err: StdError + Send + Sync + 'static>> FromSql for Text<T> {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        value.as_str()?.parse().map(Self).map_err(FromSqlError::other)
    }
}

/// A time, kept as microseconds since 1970.
pub(crate) struct Time(pub DateTime<Utc>);

impl ToSql for Time {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::from(self.0.timestamp_micros()))
    }
}

impl FromSql for Time {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let micros = value.as_i64()?;
        DateTime::from_timestamp_micros(micros).map(Self).ok_or(FromSqlError::OutOfRange(micros))
    }
}

/// The time, as [`Time`] keeps it, for statements.
pub(crate) const NOW: &str = "cast(unixepoch('subsec') * 1000000 as integer)";

/// How long something lasts: microseconds, to be added to [`NOW`].
pub(crate) struct Lasts(pub TimeDelta);

impl ToSql for Lasts {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::from(self.0.num_microseconds().unwrap_or(i64::MAX / 2)))
    }
}

/// A value kept as JSON text.
pub(crate) struct Json<T>(pub T);

impl<T: Serialize> ToSql for Json<T> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        let text = serde_json::to_string(&self.0).map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
        Ok(ToSqlOutput::from(text))
    }
}

impl<T: DeserializeOwned> FromSql for Json<T> {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        serde_json::from_str(value.as_str()?).map(Self).map_err(FromSqlError::other)
    }
}

/// A stored name that its enum does not know.
#[derive(Debug)]
struct UnknownName(String);

impl fmt::Display for UnknownName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown name {:?}", self.0)
    }
}

impl StdError for UnknownName {}

/// Reads a row's columns by name.
pub(crate) trait Columns {
    /// An id.
    fn id<T: FromStr<Err: StdError + Send + Sync + 'static>>(&self, name: &str) -> rusqlite::Result<T>;
    /// An id that may be missing.
    fn optional_id<T: FromStr<Err: StdError + Send + Sync + 'static>>(&self, name: &str) -> rusqlite::Result<Option<T>>;
    /// A time.
    fn time(&self, name: &str) -> rusqlite::Result<DateTime<Utc>>;
    /// A time that may be missing.
    fn optional_time(&self, name: &str) -> rusqlite::Result<Option<DateTime<Utc>>>;
    /// JSON.
    fn json<T: DeserializeOwned>(&self, name: &str) -> rusqlite::Result<T>;
    /// JSON that may be missing.
    fn optional_json<T: DeserializeOwned>(&self, name: &str) -> rusqlite::Result<Option<T>>;
    /// One of a closed set, by its wire name.
    fn named<T>(&self, name: &str, parse: fn(&str) -> Option<T>) -> rusqlite::Result<T>;
}

impl Columns for Row<'_> {
    fn id<T: FromStr<Err: StdError + Send + Sync + 'static>>(&self, name: &str) -> rusqlite::Result<T> {
        self.get::<_, Text<T>>(name).map(|text| text.0)
    }

    fn optional_id<T: FromStr<Err: StdError + Send + Sync + 'static>>(&self, name: &str) -> rusqlite::Result<Option<T>> {
        self.get::<_, Option<Text<T>>>(name).map(|text| text.map(|text| text.0))
    }

    fn time(&self, name: &str) -> rusqlite::Result<DateTime<Utc>> {
        self.get::<_, Time>(name).map(|time| time.0)
    }

    fn optional_time(&self, name: &str) -> rusqlite::Result<Option<DateTime<Utc>>> {
        self.get::<_, Option<Time>>(name).map(|time| time.map(|time| time.0))
    }

    fn json<T: DeserializeOwned>(&self, name: &str) -> rusqlite::Result<T> {
        self.get::<_, Json<T>>(name).map(|json| json.0)
    }

    fn optional_json<T: DeserializeOwned>(&self, name: &str) -> rusqlite::Result<Option<T>> {
        self.get::<_, Option<Json<T>>>(name).map(|json| json.map(|json| json.0))
    }

    fn named<T>(&self, name: &str, parse: fn(&str) -> Option<T>) -> rusqlite::Result<T> {
        let column = self.as_ref().column_index(name)?;
        let text =
            self.get_ref(column)?.as_str().map_err(|error| rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, Box::new(error)))?;
        parse(text).ok_or_else(|| rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, Box::new(UnknownName(text.to_owned()))))
    }
}
