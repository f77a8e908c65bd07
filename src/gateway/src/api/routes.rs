//! Tables of routes: one per domain, from which both the server and the document are made.

use actix_web::{guard, web};
use goclaw_ports::roles::Role;

/// A line of a route table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// `get`, `post`, …
    pub method: &'static str,
    /// The path, with parameters in braces.
    pub path: &'static str,
    /// The least role that may call it; `None` for everybody.
    pub role: Option<Role>,
}

/// The path that a request matched, with parameters in braces. Kept as application data of each resource, because asking
/// actix-web for it means walking all routes once more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pattern(pub &'static str);

/// An example of an operation, for the document.
#[derive(Debug, Clone, Copy)]
pub struct Example {
    /// The operation's id.
    pub operation: &'static str,
    /// A request body, as JSON; "" for none.
    pub request: &'static str,
    /// The body of the good answer, as JSON; "" for none.
    pub response: &'static str,
}

/// A route for `GET`, which answers `HEAD` as well.
pub(crate) fn get() -> actix_web::Route {
    web::route().guard(guard::Any(guard::Get()).or(guard::Head()))
}

/// Makes a table of routes under one first path segment.
///
/// `scope()` is for the server, `documented()` the same for paperclip, and `ROUTES` says who may call what.
macro_rules! routes {
    ($prefix:literal { $($path:literal { $($method:ident => $handler:path, $role:ident;)+ })+ }) => {
        /// The routes, and who may call them.
        pub const ROUTES: &[$crate::api::Route] = &[$($($crate::api::Route {
            method: stringify!($method),
            path: concat!($prefix, $path),
            role: $crate::api::routes!(@role $role),
        },)+)+];

        /// Serves the routes.
        pub fn scope() -> actix_web::Scope {
            actix_web::web::scope($prefix)$(.service(
                actix_web::web::resource($path).app_data($crate::api::Pattern(concat!($prefix, $path)))
                    $(.route($crate::api::routes!(@method $method).to($handler)))+
            ))+
        }

        /// The same, for the document.
        pub fn documented() -> paperclip::actix::web::Scope {
            paperclip::actix::web::scope($prefix)$(.service(
                paperclip::actix::web::resource($path)$(.route(paperclip::actix::web::$method().to($handler)))+
            ))+
        }
    };
    (@method get) => { $crate::api::get() };
    (@method $method:ident) => { actix_web::web::$method() };
    (@role Public) => { None };
    (@role $role:ident) => { Some(goclaw_ports::roles::Role::$role) };
}
pub(crate) use routes;
