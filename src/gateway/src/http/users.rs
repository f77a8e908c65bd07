//! Finding people.

use crate::{
    api::{ApiJson, ApiQuery, number, routes},
    auth::Who,
    error::ApiError,
    gateway::Gateway,
};
use actix_web::web;
use goclaw_core::tenants::{MemberSource, UserHit, UserQuery};
use paperclip::actix::api_v2_operation;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

routes! {
    "/v1/users" {
        "/search" { get => search, Viewer; }
    }
}

/// Whom to look for.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct UserSearch {
    /// A part of the id or the display name; absent for everybody.
    q: Option<String>,
    /// How many at most: 1 to 100, else 30.
    #[serde(deserialize_with = "number")]
    limit: Option<i64>,
    /// Where to look; absent for everywhere.
    #[schemars(with = "Option<MemberSource>")]
    source: Option<String>,
}

/// Who was found.
#[derive(Serialize, JsonSchema)]
pub struct UserHits {
    /// Oldest membership first.
    results: Vec<UserHit>,
}

/// Find people
///
/// Among the members of the caller's tenant, by a part of their id or display name, whatever its case.
#[api_v2_operation(tags("Tenants"), operation_id = "users_search")]
async fn search(who: Who, query: ApiQuery<UserSearch>, gateway: web::Data<Gateway>) -> Result<ApiJson<UserHits>, ApiError> {
    let UserSearch { q, limit, source } = query.0;
    let query = UserQuery { text: q.unwrap_or_default(), limit: limit.unwrap_or_default(), source: MemberSource::parse(&source.unwrap_or_default())? };
    Ok(ApiJson(UserHits { results: gateway.core.tenants.search(&who, query).await? }))
}
