//! Query strings.

use super::{
    QUERY_MARK,
    collect::{Way, component},
};
use crate::error::ApiError;
use actix_web::{FromRequest, HttpRequest, dev::Payload, web};
use goclaw_ports::Error;
use paperclip::{
    actix::OperationModifier,
    v2::{
        models::{DataType, DefaultOperationRaw, DefaultSchemaRaw, Either, Parameter, ParameterIn},
        schema::Apiv2Schema,
    },
};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use std::{
    collections::BTreeMap,
    future::{Ready, ready},
    ops::Deref,
    str::FromStr,
};

/// The query string, as a struct. Unknown parameters are ignored.
pub struct ApiQuery<T>(pub T);

/// A number in a query string. What is none counts as absent.
///
/// # Errors
/// None of its own.
pub fn number<'de, D: Deserializer<'de>>(value: D) -> Result<Option<i64>, D::Error> {
    Ok(String::deserialize(value)?.trim().parse().ok())
}

/// A value in a query string that is read from its text. What cannot be read counts as absent.
///
/// # Errors
/// None of its own.
pub fn parsed<'de, T: FromStr, D: Deserializer<'de>>(value: D) -> Result<Option<T>, D::Error> {
    Ok(String::deserialize(value)?.trim().parse().ok())
}

impl<T> Deref for ApiQuery<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> Apiv2Schema for ApiQuery<T> {}

impl<T: JsonSchema> OperationModifier for ApiQuery<T> {
    fn update_parameter(operation: &mut DefaultOperationRaw) {
        // Spread into one parameter per field when the document is finished.
        operation.parameters.push(Either::Right(Parameter {
            in_: ParameterIn::Query,
            name: format!("{QUERY_MARK}{}", component::<T>(Way::In)),
            data_type: Some(DataType::String),
            ..Parameter::default()
        }));
    }
    fn update_definitions(_: &mut BTreeMap<String, DefaultSchemaRaw>) {}
}

impl<T: DeserializeOwned + 'static> FromRequest for ApiQuery<T> {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(match web::Query::<T>::from_query(request.query_string()) {
            Ok(query) => Ok(Self(query.into_inner())),
            Err(cause) => Err(Error::invalid_request(cause).into()),
        })
    }
}
