//! The yardstick: an actix server that does nothing but write the same JSON.

use actix_web::{App, HttpResponse, HttpServer, dev::ServerHandle, rt::System, web};
use anyhow::{Context, Result};
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
        let listener = TcpListener::bind("127.0.0.1:0").context("a port for the bare server")?;
        let port = listener.local_addr()?.port();
        let (sender, started) = mpsc::channel();
        let documents: Vec<_> = documents.into_iter().map(|(path, document)| (path, web::Data::new(document))).collect();
        thread::Builder::new().name("bare".to_owned()).spawn(move || {
            System::new().block_on(async move {
                let server = HttpServer::new(move || {
                    let documents = documents.clone();
                    App::new().configure(|config| {
                        for (path, document) in documents {
                            config.service(web::resource(path).app_data(document).route(web::get().to(answer)).route(web::post().to(create)));
                        }
                    })
                });
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
