//! What a tenant has is out of reach for everybody else, at every place of the API where it could be named.
//!
//! The calls are made from the OpenAPI document and the table of RPC methods, so a new one is among them by itself; if it has a
//! parameter that nobody knows how to fill, the test says where to tell it. Two tenants call in step: one names what the tenant `a` has,
//! the other what nobody has, and both must get the same answers, in the same class of time.

use crate::{
    common::mask,
    isolation_calls::{Call, rest, rpc},
    isolation_kept::{self as kept, Kept},
};
use goclaw_ports::{TenantId, roles::Scope};
use goclaw_tests::{
    Edition, Http, Reply, Server, Setup, WsClient,
    fixtures::{add_api_key, add_tenant},
    one_of_each::{self, Names, PRIVATE_MARK, SHARED_MARK},
    server::free_port,
};
use serde_json::{Value, json};
use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

/// Two times are of different classes if one is so many times as long as the other, and so much longer. Time on a busy machine is like
/// that now and then, but not always the same way.
const TIMES: u32 = 3;
const LONGER: Duration = Duration::from_millis(20);
/// How often two calls are made again whose times are of different classes.
const LOOKS: usize = 6;
/// A stranger's user id.
const STRANGER: &str = "eve";
/// Kinds whose names are given by the gateway, so that who did not send one can have it from nowhere else.
const GIVEN: [&str; 12] = ["agent_id", "provider_id", "api_key", "trace", "link", "task", "run", "medium", "path", "export", "code", "tenant_id"];

/// Somebody, on both ways in.
struct Caller {
    role: &'static str,
    http: Http,
    socket: WsClient,
}

/// Which of two calls took longer, if their times are of different classes.
fn longer(met: Duration, control: Duration) -> Option<Ordering> {
    let (short, long) = (met.min(control), met.max(control));
    (long > short * TIMES && long - short > LONGER).then(|| met.cmp(&control))
}

/// Whether one of two calls takes longer than the other each time that they are made again.
async fn always(longer_one: Ordering, (b, with_theirs): (&mut Caller, &Call), (c, with_nothings): (&mut Caller, &Call)) -> bool {
    for _ in 0..LOOKS {
        // In the other order than at first.
        let (_, control) = c.timed(with_nothings).await;
        let (_, met) = b.timed(with_theirs).await;
        if longer(met, control) != Some(longer_one) {
            return false;
        }
    }
    true
}

/// What a call came to.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    status: String,
    text: String,
}

impl Caller {
    async fn new(server: &Server, role: &'static str, key: &str, user: &str) -> Self {
        Self { role, http: server.with_key(key).user(user), socket: server.connected(&json!({"token": key, "user_id": user})).await }
    }

    async fn timed(&mut self, call: &Call) -> (Answer, Duration) {
        let begun = Instant::now();
        let answer = self.make(call).await;
        (answer, begun.elapsed())
    }

    async fn make(&mut self, call: &Call) -> Answer {
        match call {
            Call::Rest { method, path, body: None, .. } => Answer::from(self.http.send(method, path, "", Vec::new()).await),
            Call::Rest { method, path, body: Some(body), .. } => {
                Answer::from(self.http.send(method, path, "application/json", body.to_string().into_bytes()).await)
            }
            Call::Form { path, fields, .. } => {
                let fields: Vec<_> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
                Answer::from(self.http.upload(path, &fields, "form.txt", b"a file").await)
            }
            Call::Rpc { method, params } => match self.socket.call(method, params).await {
                Ok(payload) => Answer { status: "ok".to_owned(), text: payload.to_string() },
                Err(error) => Answer { status: error.code, text: error.message },
            },
        }
    }
}

impl Answer {
    fn is_limited(&self) -> bool {
        self.status == "RESOURCE_EXHAUSTED" || self.status.starts_with("429")
    }
}

impl From<Reply> for Answer {
    fn from(reply: Reply) -> Self {
        Self { status: format!("{} {}", reply.status, reply.header("content-type")), text: reply.text() }
    }
}

/// A gateway whose tenant `a` has one of everything, and whose tenants `b` and `c` have nothing.
struct Sweep {
    server: Server,
    a: TenantId,
    b: TenantId,
    c: TenantId,
    keys: BTreeMap<(&'static str, &'static str), String>,
    /// What `a` has.
    theirs: Names,
    /// What nobody has.
    nothings: Names,
}

const ROLES: [(&str, Scope); 3] = [("viewer", Scope::Read), ("operator", Scope::Write), ("admin", Scope::Admin)];

impl Sweep {
    async fn start(edition: Edition) -> Self {
        let mut setup = Setup::new(edition).await.env("GOCLAW_OAUTH_CALLBACK_PORT", &free_port().to_string());
        let stores = setup.stores().await;
        let mut tenants = Vec::new();
        let mut keys = BTreeMap::new();
        for (tenant, slug) in [("a", "tenant-of-a"), ("b", "tenant-b"), ("c", "tenant-c")] {
            let id = add_tenant(&stores, slug).await;
            for (role, scope) in ROLES {
                // With a key that is nobody's, one may speak for anybody of the tenant.
                let owner = if tenant == "a" && role != "admin" { STRANGER } else { "" };
                keys.insert((tenant, role), add_api_key(&stores, Some(id), &[scope], owner).await);
            }
            tenants.push(id);
        }
        drop(stores);
        let mut server = setup.start().await;
        let theirs = one_of_each::fill(&mut server, tenants[0], &keys[&("a", "admin")]).await;
        Self { server, a: tenants[0], b: tenants[1], c: tenants[2], keys, nothings: theirs.of_nothing(), theirs }
    }

    /// What is kept now, once the gateway was started anew.
    async fn kept(&mut self) -> Kept {
        let kept = Kept::of(&mut self.server).await;
        one_of_each::export(&self.server, &self.keys[&("a", "admin")], &mut self.theirs).await;
        self.nothings = self.theirs.of_nothing();
        kept
    }

    async fn callers(&self, tenant: &'static str, user: &str) -> Vec<Caller> {
        let mut callers = Vec::new();
        for (role, _) in ROLES {
            callers.push(Caller::new(&self.server, role, &self.keys[&(tenant, role)], user).await);
        }
        callers
    }

    /// The answer without what differs between `b`, which names what `a` has, and `c`, which names what nobody has.
    fn comparable(&self, text: &str) -> String {
        let mut pairs: Vec<(&str, &str)> = self.theirs.iter().map(|(_, name)| name).zip(self.nothings.iter().map(|(_, name)| name)).collect();
        pairs.sort_by_key(|(theirs, _)| std::cmp::Reverse(theirs.len()));
        let text = pairs.iter().fold(text.to_owned(), |text, (theirs, nothings)| text.replace(nothings, theirs));
        mask(&text.replace("tenant-c", "tenant-b"))
    }

    /// What of `a` stands in an answer to a call that did not say it.
    fn leaks(&self, call: &str, text: &str) -> Vec<String> {
        let given = self.theirs.iter().filter(|(kind, name)| GIVEN.contains(kind) && !call.contains(name)).map(|(_, name)| name);
        given.chain([PRIVATE_MARK, SHARED_MARK]).filter(|name| text.contains(name)).map(str::to_owned).collect()
    }
}

on_both_editions! {
    async fn another_tenant_meets_nothing_of_it(edition) {
        let mut sweep = Sweep::start(edition).await;
        let before = sweep.kept().await;
        let (mut bs, mut cs) = (sweep.callers("b", STRANGER).await, sweep.callers("c", STRANGER).await);
        let mut owner_of_a = sweep.callers("a", "mai-of-a").await.pop().unwrap();
        let (mut wrong, mut compared, mut limited) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
        let every_name = sweep.theirs.turns();
        // What makes things comes last: what is there after that has the names of what `a` has.
        for (late, turns) in [(false, every_name), (true, every_name), (false, 1)] {
            for turn in 0..turns {
                let (theirs, nothings) = (calls_of(&sweep.theirs, turn, late), calls_of(&sweep.nothings, turn, late));
                assert_eq!(theirs.len(), nothings.len());
                for (with_theirs, with_nothings) in theirs.iter().zip(&nothings) {
                    for (b, c) in bs.iter_mut().zip(&mut cs) {
                        let ((met, took), (control, control_took)) = (b.timed(with_theirs).await, c.timed(with_nothings).await);
                        let what = format!("{with_theirs} as {} of another tenant", b.role);
                        let leaks = sweep.leaks(&with_theirs.to_string(), &met.text);
                        if !leaks.is_empty() {
                            wrong.push(format!("{what} shows {leaks:?}: {} {}", met.status, met.text));
                        }
                        if with_theirs.tells_of_the_moment() {
                            continue;
                        }
                        // The limits of some calls are for an address, and both have the same.
                        if [&met, &control].iter().any(|answer| answer.is_limited()) {
                            limited.insert(with_theirs.name());
                            continue;
                        }
                        compared.insert(with_theirs.name());
                        if let Some(longer) = longer(took, control_took)
                            && always(longer, (b, with_theirs), (c, with_nothings)).await
                        {
                            wrong.push(format!("{what} took {took:?}, and {control_took:?} if there is no such thing"));
                        }
                        let [met, control] = [met, control].map(|answer| (answer.status, sweep.comparable(&answer.text)));
                        if met != control {
                            wrong.push(format!("{what} answers\n  {met:?}\nbut if there is no such thing\n  {control:?}"));
                        }
                    }
                }
            }
        }
        assert!(wrong.is_empty(), "{} answers tell of another tenant's things:\n{}", wrong.len(), wrong.join("\n"));
        let unseen: Vec<_> = limited.difference(&compared).collect();
        assert!(unseen.is_empty(), "every call of these met a limit, so that nothing is known of them: {unseen:?}");
        for b in &mut bs {
            for event in b.socket.events_until_now().await {
                assert_eq!(sweep.leaks("", &event.to_string()), Vec::<String>::new(), "{event} came to a {} of another tenant", b.role);
            }
        }
        assert_eq!(owner_of_a.socket.events_until_now().await, Vec::<Value>::new(), "what others do is told to nobody of the tenant");
        let after = Kept::of(&mut sweep.server).await;
        let own = [sweep.b, sweep.c];
        assert_eq!(before.missing_in(&after, &own), Vec::<String>::new(), "is gone or was changed by another tenant");
        // The tenant's own admin made an export, and came to listen.
        let is_theirs = |row: &String| kept::names(row, sweep.a) && !row.contains("auth.login") && !row.contains("agent.export");
        let added: Vec<_> = after.missing_in(&before, &own).into_iter().filter(is_theirs).collect();
        assert_eq!(added, Vec::<String>::new(), "was added to the tenant by another");
    }

    async fn a_user_without_rights_meets_nothing_private(edition) {
        let mut sweep = Sweep::start(edition).await;
        let before = sweep.kept().await;
        let mut users = sweep.callers("a", STRANGER).await;
        // Admins may see everything.
        users.truncate(2);
        let mut wrong = Vec::new();
        for late in [false, true] {
            for turn in 0..sweep.theirs.turns() {
                for call in calls_of(&sweep.theirs, turn, late) {
                    for user in &mut users {
                        let answer = user.make(&call).await;
                        if answer.text.contains(PRIVATE_MARK) {
                            wrong.push(format!("{call} as {} of the same tenant: {} {}", user.role, answer.status, answer.text));
                        }
                    }
                }
            }
        }
        assert!(wrong.is_empty(), "{} answers tell another user's secrets:\n{}", wrong.len(), wrong.join("\n"));
        for user in &mut users {
            for event in user.socket.events_until_now().await {
                assert!(!event.to_string().contains(PRIVATE_MARK), "{event} came to a {} of the same tenant", user.role);
            }
        }
        drop(users);
        let after = Kept::of(&mut sweep.server).await;
        assert_eq!(before.missing_in(&after, &[]), Vec::<String>::new(), "is gone or was changed by a user without rights");
    }
}

/// Every call that there is, with these names: those that make things, or all others.
fn calls_of(names: &Names, turn: usize, late: bool) -> Vec<Call> {
    let calls = rest(names, turn).into_iter().chain(rpc(names, turn));
    calls.filter(|call| call.makes_something() == late).collect()
}
