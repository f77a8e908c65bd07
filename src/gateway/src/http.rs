//! REST: the table of tables, and what surrounds every request.

pub(crate) mod activity;
pub(crate) mod agents;
pub(crate) mod api_keys;
pub(crate) mod chat;
pub(crate) mod costs;
pub(crate) mod edge;
pub(crate) mod edition;
pub(crate) mod export;
pub(crate) mod files;
pub(crate) mod health;
pub(crate) mod media;
pub(crate) mod metrics;
pub(crate) mod oauth;
pub(crate) mod openapi;
pub(crate) mod progress;
pub(crate) mod providers;
pub(crate) mod ready;
pub(crate) mod responses;
pub(crate) mod streaming;
pub(crate) mod system_configs;
pub(crate) mod tenant_users;
pub(crate) mod tenants;
#[cfg(test)]
mod tests;
pub(crate) mod tools;
pub(crate) mod traces;
pub(crate) mod usage;
pub(crate) mod users;

use crate::{
    api::{Example, Route},
    docs,
    error::ApiError,
    ws,
};
use actix_web::{HttpResponse, web};
use paperclip::actix::web::Scope;

/// A domain's routes, as the document needs them.
pub(crate) struct Domain {
    pub routes: &'static [Route],
    pub examples: &'static [Example],
    pub documented: fn() -> Scope,
}

/// Every domain.
pub(crate) const DOMAINS: &[Domain] = &[
    Domain { routes: chat::ROUTES, examples: chat::EXAMPLES, documented: chat::documented },
    Domain { routes: responses::ROUTES, examples: responses::EXAMPLES, documented: responses::documented },
    Domain { routes: agents::ROUTES, examples: agents::EXAMPLES, documented: agents::documented },
    Domain { routes: export::ROUTES, examples: &[], documented: export::documented },
    Domain { routes: providers::ROUTES, examples: providers::EXAMPLES, documented: providers::documented },
    Domain { routes: oauth::ROUTES, examples: oauth::EXAMPLES, documented: oauth::documented },
    Domain { routes: providers::embedding::ROUTES, examples: providers::embedding::EXAMPLES, documented: providers::embedding::documented },
    Domain { routes: tools::ROUTES, examples: tools::EXAMPLES, documented: tools::documented },
    Domain { routes: api_keys::ROUTES, examples: api_keys::EXAMPLES, documented: api_keys::documented },
    Domain { routes: tenants::ROUTES, examples: tenants::EXAMPLES, documented: tenants::documented },
    Domain { routes: tenant_users::ROUTES, examples: &[], documented: tenant_users::documented },
    Domain { routes: users::ROUTES, examples: &[], documented: users::documented },
    Domain { routes: files::ROUTES, examples: files::EXAMPLES, documented: files::documented },
    Domain { routes: media::ROUTES, examples: media::EXAMPLES, documented: media::documented },
    Domain { routes: activity::ROUTES, examples: activity::EXAMPLES, documented: activity::documented },
    Domain { routes: traces::ROUTES, examples: &[], documented: traces::documented },
    Domain { routes: costs::ROUTES, examples: costs::EXAMPLES, documented: costs::documented },
    Domain { routes: usage::ROUTES, examples: usage::EXAMPLES, documented: usage::documented },
    Domain { routes: system_configs::ROUTES, examples: system_configs::EXAMPLES, documented: system_configs::documented },
    Domain { routes: edition::ROUTES, examples: edition::EXAMPLES, documented: edition::documented },
    Domain { routes: openapi::ROUTES, examples: &[], documented: openapi::documented },
    Domain { routes: health::ROUTES, examples: health::EXAMPLES, documented: health::documented },
    Domain { routes: ready::ROUTES, examples: &[], documented: ready::documented },
    Domain { routes: metrics::ROUTES, examples: &[], documented: metrics::documented },
    Domain { routes: docs::ROUTES, examples: &[], documented: docs::documented },
];

/// Serves everything. The busiest come first, because routing walks the list.
pub(crate) fn configure(config: &mut web::ServiceConfig) {
    config
        .service(chat::scope())
        .service(responses::scope())
        .service(agents::scope())
        .service(tools::scope())
        .service(providers::scope())
        .service(oauth::scope())
        .service(providers::embedding::scope())
        .service(api_keys::scope())
        .service(tenants::scope())
        .service(tenant_users::scope())
        .service(users::scope())
        .configure(files::configure)
        .service(media::scope())
        .service(activity::scope())
        .service(traces::scope())
        .service(costs::scope())
        .service(usage::scope())
        .configure(system_configs::configure)
        .service(edition::scope())
        .service(export::scope())
        .service(openapi::scope())
        .configure(health::configure)
        .service(ready::scope())
        .service(ws::service())
        .service(metrics::scope())
        .configure(docs::configure)
        .default_service(web::to(nowhere));
}

async fn nowhere() -> Result<HttpResponse, ApiError> {
    Err(ApiError::NoSuchPath)
}
