//! Redis servers: a small one of our own, which speaks the protocol and counts as ours asks it to, and the real one where it is installed.

use crate::server::free_port;
use std::{
    collections::HashMap,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};

/// A Redis server on a port of its own. It ends when it is dropped.
pub struct Redis {
    port: u16,
    keeps: Keeps,
}

enum Keeps {
    Fake { shared: Arc<Shared>, task: JoinHandle<()> },
    Real(Child),
}

#[derive(Default)]
struct Shared {
    password: Option<String>,
    /// Buckets, by the microsecond at which they are full again.
    buckets: Mutex<HashMap<String, u64>>,
    scripts: AtomicUsize,
    hangs: AtomicBool,
}

impl Redis {
    /// A small one.
    pub async fn fake() -> Self {
        Self::fake_on(0, None).await
    }

    /// A small one on this port (0 for any), which wants this password.
    pub async fn fake_on(port: u16, password: Option<&str>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.expect("the port is free");
        let port = listener.local_addr().expect("an address").port();
        let shared = Arc::new(Shared { password: password.map(str::to_owned), ..Shared::default() });
        let task = tokio::spawn({
            let shared = shared.clone();
            async move {
                let mut clients = JoinSet::new();
                while let Ok((socket, _)) = listener.accept().await {
                    clients.spawn(serve(socket, shared.clone()));
                }
            }
        });
        Self { port, keeps: Keeps::Fake { shared, task } }
    }

    /// Debian's, if it is installed.
    pub async fn real() -> Option<Self> {
        let path = std::env::var_os("PATH")?;
        let program: PathBuf = std::env::split_paths(&path).map(|directory| directory.join("redis-server")).find(|file| file.is_file())?;
        let port = free_port();
        let child = Command::new(program)
            .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--port", &port.to_string()])
            .current_dir(std::env::temp_dir())
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server starts");
        let redis = Self { port, keeps: Keeps::Real(child) };
        crate::eventually("redis-server", async || TcpStream::connect(("127.0.0.1", port)).await.is_ok()).await;
        Some(redis)
    }

    /// Its address.
    #[must_use]
    pub fn dsn(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    /// The port it listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    fn fake_part(&self) -> &Shared {
        match &self.keeps {
            Keeps::Fake { shared, .. } => shared,
            Keeps::Real(_) => panic!("the real one cannot be asked"),
        }
    }

    /// How often a small one was asked to count.
    #[must_use]
    pub fn counted(&self) -> usize {
        self.fake_part().scripts.load(Ordering::SeqCst)
    }

    /// The keys that a small one holds.
    #[must_use]
    pub fn keys(&self) -> Vec<String> {
        self.fake_part().buckets.lock().expect("the buckets").keys().cloned().collect()
    }

    /// Has a small one take questions and answer none from now on.
    pub fn hang(&self) {
        self.fake_part().hangs.store(true, Ordering::SeqCst);
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        match &mut self.keeps {
            Keeps::Fake { task, .. } => task.abort(),
            Keeps::Real(child) => {
                child.kill().ok();
                child.wait().ok();
            }
        }
    }
}

async fn serve(socket: TcpStream, shared: Arc<Shared>) -> Option<()> {
    let mut socket = BufReader::new(socket);
    let mut known = shared.password.is_none();
    loop {
        let command = read(&mut socket).await?;
        if shared.hangs.load(Ordering::SeqCst) {
            continue;
        }
        let answer = answer(&command, &shared, &mut known);
        socket.get_mut().write_all(answer.as_bytes()).await.ok()?;
    }
}

/// A command: an array of strings.
async fn read(socket: &mut BufReader<TcpStream>) -> Option<Vec<String>> {
    let count = number(socket, '*').await?;
    let mut words = Vec::with_capacity(count);
    for _ in 0..count {
        let length = number(socket, '$').await?;
        let mut word = vec![0; length + 2];
        socket.read_exact(&mut word).await.ok()?;
        word.truncate(length);
        words.push(String::from_utf8(word).ok()?);
    }
    Some(words)
}

async fn number(socket: &mut BufReader<TcpStream>, kind: char) -> Option<usize> {
    let mut line = String::new();
    socket.read_line(&mut line).await.ok()?;
    line.strip_prefix(kind)?.trim_end().parse().ok()
}

fn answer(command: &[String], shared: &Shared, known: &mut bool) -> String {
    let words: Vec<_> = command.iter().map(String::as_str).collect();
    let name = words.first().map(|name| name.to_ascii_uppercase()).unwrap_or_default();
    match (name.as_str(), &words[1..]) {
        ("AUTH", given) => {
            *known = given.last().copied() == shared.password.as_deref();
            if *known { "+OK\r\n" } else { "-WRONGPASS invalid username-password pair or user is disabled.\r\n" }.to_owned()
        }
        _ if !*known => "-NOAUTH Authentication required.\r\n".to_owned(),
        ("PING", []) => "+PONG\r\n".to_owned(),
        ("SELECT", [_]) | ("CLIENT", [_, ..]) => "+OK\r\n".to_owned(),
        ("EVAL", [_, "1", key, token, burst]) => {
            shared.scripts.fetch_add(1, Ordering::SeqCst);
            format!(":{}\r\n", take(shared, key, token.parse().expect("a time"), burst.parse().expect("a count")))
        }
        _ => format!("-ERR unknown command '{name}'\r\n"),
    }
}

/// What the script does: 0 if a token was there, else the microseconds until the next one is.
fn take(shared: &Shared, key: &str, token: u64, burst: u64) -> u64 {
    let now = u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).expect("a time").as_micros()).expect("a time");
    let whole = token * burst;
    let mut buckets = shared.buckets.lock().expect("the buckets");
    let after = buckets.get(key).copied().unwrap_or(now).clamp(now, now + whole) + token;
    if after > now + whole {
        return after - whole - now;
    }
    buckets.insert(key.to_owned(), after);
    0
}
