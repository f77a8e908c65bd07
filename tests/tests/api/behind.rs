//! The database, behind the gateway's back.

use goclaw_tests::{Edition, Server};
use tokio::task::JoinHandle;
use tokio_postgres::{Client, NoTls};

/// A client of the server's database.
pub enum Database {
    Lite(rusqlite::Connection),
    Standard(Client, JoinHandle<Result<(), tokio_postgres::Error>>),
}

impl Database {
    /// Connects to it, also while the gateway runs.
    pub async fn of(server: &Server, edition: Edition) -> Self {
        match edition {
            Edition::Lite => Self::Lite(rusqlite::Connection::open(server.database_file()).unwrap()),
            Edition::Standard => {
                let (client, connection) = tokio_postgres::connect(&server.environment()["GOCLAW_POSTGRES_DSN"], NoTls).await.unwrap();
                Self::Standard(client, tokio::spawn(connection))
            }
        }
    }

    /// Has the edition's statement done.
    pub async fn run(&self, lite: &str, standard: &str) {
        match self {
            Self::Lite(connection) => connection.execute_batch(lite).unwrap(),
            Self::Standard(client, _) => client.batch_execute(standard).await.unwrap(),
        }
    }

    /// Hangs up.
    pub async fn close(self) {
        if let Self::Standard(client, driving) = self {
            drop(client);
            driving.await.unwrap().unwrap();
        }
    }
}
