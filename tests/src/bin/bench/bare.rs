//! The yardstick: an actix server that does nothing but write the same JSON, or pass on what a model says.

use actix_web::{
    App, HttpResponse, HttpServer,
    dev::ServerHandle,
    error::ErrorBadGateway,
    http::header,
    rt::System,
    web::{self, ServiceConfig},
};
use anyhow::{Context, Result};
use futures_util::TryStreamExt;
use serde_json::Value;
use std::{net::TcpListener, sync::mpsc, thread, time::Duration};

/// A bare server with as many workers as the gateway has. It ends when it is dropped.
pub struct Bare {
    port: u16,
    handle: ServerHandle,
}

impl Bare {
    /// Serves each of these documents at its path, to GET with 200, and to POST with 201 once its JSON is read.
    ///
    /// # Errors
    /// If it does not start.
    pub fn start(documents: Vec<(&'static str, Value)>) -> Result<Self> {
        let documents: Vec<_> = documents.into_iter().map(|(path, document)| (path, web::Data::new(document))).collect();
        Self::serve(move |config| {
            for (path, document) in documents.clone() {
                config.service(web::resource(path).app_data(document).route(web::get().to(answer)).route(web::post().to(create)));
            }
        })
    }

    /// Passes what is posted to this path on to the model at this port, and what that says back as it comes.
    ///
    /// # Errors
    /// If it does not start.
    pub fn proxy(model: u16, path: &'static str) -> Result<Self> {
        let target = web::Data::new(format!("http://127.0.0.1:{model}{path}"));
        let client = web::Data::new(reqwest::Client::builder().no_proxy().build()?);
        Self::serve(move |config| {
            config.app_data(target.clone()).app_data(client.clone()).route(path, web::post().to(pass_on));
        })
    }

    fn serve(configure: impl Fn(&mut ServiceConfig) + Clone + Send + 'static) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").context("a port for the bare server")?;
        let port = listener.local_addr()?.port();
        let (sender, started) = mpsc::channel();
        thread::Builder::new().name("bare".to_owned()).spawn(move || {
            System::new().block_on(async move {
                let server = HttpServer::new(move || App::new().configure(configure.clone()));
                match server.keep_alive(Duration::from_secs(75)).disable_signals().listen(listener) {
                    Ok(server) => {
                        let server = server.run();
                        if sender.send(Ok(server.handle())).is_ok()
                            && let Err(error) = server.await
                        {
                            eprintln!("bench: the bare server ended: {error}");
                        }
                    }
                    Err(error) => {
                        // Nobody is left to be told if the receiver is gone.
                        sender.send(Err(error)).ok();
                    }
                }
            });
        })?;
        let handle = started.recv_timeout(Duration::from_secs(10)).context("the bare server does not start")??;
        Ok(Self { port, handle })
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        // The order is given at once; only its end would have to be awaited.
        drop(self.handle.stop(false));
    }
}

async fn answer(document: web::Data<Value>) -> HttpResponse {
    HttpResponse::Ok().json(document.get_ref())
}

async fn create(asked: web::Json<Value>, document: web::Data<Value>) -> HttpResponse {
    if asked.is_object() { HttpResponse::Created().json(document.get_ref()) } else { HttpResponse::BadRequest().finish() }
}

async fn pass_on(asked: web::Bytes, target: web::Data<String>, client: web::Data<reqwest::Client>) -> actix_web::Result<HttpResponse> {
    let answer = client.post(target.as_str()).header(header::CONTENT_TYPE.as_str(), "application/json").body(asked).send().await;
    let pieces = answer.map_err(ErrorBadGateway)?.bytes_stream().map_err(ErrorBadGateway);
    Ok(HttpResponse::Ok().content_type("text/event-stream").streaming(pieces))
}
