//! Backups, and what is there after they were restored.

use crate::{
    common::{ask, create_agent_with, fox_session, history, message},
    shell::{Machine, Shell, mode},
};
use goclaw_tests::{Edition, Http, Server, fake_llm::DEFAULT_TEXT, server::UPSTREAM_KEY, within};
use regex::Regex;
use serde_json::{Value, json};
use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

const SPARE_KEY: &str = "sk-spare-key-that-is-sealed";

/// A gateway with an agent that has a provider of its own, a conversation, and files.
async fn furnished(edition: Edition) -> Server {
    let server = Server::start(edition).await;
    let owner = server.owner();
    let provider = json!({"name": "spare", "provider_type": "openai_compat", "api_base": server.llm.base(), "api_key": SPARE_KEY, "enabled": true});
    owner.post("/v1/providers", &provider).await.expect(201);
    create_agent_with(&owner, "fox", json!({"provider": "spare", "model": "stub", "display_name": "Reynard"})).await;
    server.owner_socket().await.call("chat.send", &message(&fox_session("1"), "remember me")).await.unwrap();
    let (data, workspace) = (server.dir().join("data"), server.dir().join("workspace"));
    fs::create_dir_all(workspace.join("fox/empty")).unwrap();
    fs::create_dir_all(data.join("skills/fly")).unwrap();
    fs::write(workspace.join("fox/notes.txt"), "notes of the fox").unwrap();
    fs::write(workspace.join("fox").join("x".repeat(180)), "a long name").unwrap();
    fs::write(workspace.join("fox/run.sh"), "#!/bin/sh").unwrap();
    fs::set_permissions(workspace.join("fox/run.sh"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(data.join("skills/fly/SKILL.md"), "how to fly").unwrap();
    symlink("/etc/hostname", workspace.join("fox/link")).unwrap();
    server
}

/// What a user of the API would miss.
async fn contents(server: &Server) -> Value {
    let owner = server.owner();
    let mut socket = server.owner_socket().await;
    json!({
        "agents": owner.get("/v1/agents").await.expect(200),
        "providers": owner.get("/v1/providers").await.expect(200),
        "sessions": socket.call("sessions.list", &json!({})).await.unwrap(),
        "history": socket.call("chat.history", &json!({"sessionKey": fox_session("1")})).await.unwrap(),
    })
}

/// What a file is that came with a message.
const FILE_NAME: &str = "burrow.csv";
const FILE: &[u8] = b"exit,open\nnorth,yes\n";

/// Sends a file with a message, and answers with the conversation.
async fn with_file(server: &Server, session: &str) -> Vec<Value> {
    let taken = server.owner().upload("/v1/media/upload", &[], FILE_NAME, FILE).await.expect(200);
    let mut said = message(session, "read this");
    said["media"] = json!([{"path": taken["path"], "filename": FILE_NAME}]);
    let mut socket = server.owner_socket().await;
    socket.call("chat.send", &said).await.unwrap();
    history(&mut socket, session).await
}

/// Links are signed anew for everybody who asks.
fn without_signatures(messages: &[Value]) -> String {
    Regex::new(r#"\?ft=[^"&) ]+"#).unwrap().replace_all(&json!(messages).to_string(), "").into_owned()
}

/// The file of a message comes by its link and by its id.
async fn serves_the_file(owner: &Http, message: &Value) {
    let medium = &message["media_refs"][0];
    let link = medium["path"].as_str().unwrap_or_else(|| panic!("no file: {message}"));
    assert!(link.contains("?ft="), "{link}");
    assert_eq!(owner.clone().without("Authorization").get(link).await.body, FILE, "{link}");
    assert_eq!(owner.get(&format!("/v1/media/{}", medium["id"].as_str().unwrap())).await.body, FILE);
}

/// Nothing temporary was left behind.
fn assert_tidy(directories: &[&Path]) {
    for directory in directories {
        let left: Vec<_> =
            fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name()).filter(|name| name.to_string_lossy().starts_with(".goclaw-")).collect();
        assert!(left.is_empty(), "{}: {left:?}", directory.display());
    }
}

fn text(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).unwrap()
}

on_both_editions! {
    async fn what_was_backed_up_is_there_after_a_restore(edition) {
        let mut server = furnished(edition).await;
        let before = contents(&server).await;
        let shell = Shell::beside(&server).with_programs();
        let (dir, data, workspace) = (server.dir().to_owned(), server.dir().join("data"), server.dir().join("workspace"));
        let key = shell.environment["GOCLAW_ENCRYPTION_KEY"].clone();

        let written = shell.run("backup --output b.tar.gz --json").await.expect(0).hides(&[&key, SPARE_KEY]).json();
        assert_eq!((&written["edition"], &written["files"], &written["key"], &written["left_out"]), (&json!(edition.name()), &json!(true), &json!(false), &json!(1)));
        assert_eq!(mode(&dir.join("b.tar.gz")), 0o600);
        assert_tidy(&[&dir, &data, &workspace]);
        shell.run("backup --output b.tar.gz").await.expect(4).says(&["exists already"]);

        // Everything is changed afterwards.
        shell.run("agent delete fox --force").await.expect(0);
        create_agent_with(&server.owner(), "wolf", json!({})).await;
        fs::write(workspace.join("fox/notes.txt"), "changed").unwrap();
        fs::write(workspace.join("later.txt"), "made later").unwrap();
        fs::remove_dir_all(data.join("skills")).unwrap();

        assert_eq!(shell.run("restore b.tar.gz --force").await.expect(4).out, "", "the gateway runs");
        server.owner().get("/v1/agents/wolf").await.expect(200);
        server.stop().await;
        shell.run("restore b.tar.gz").await.expect(4).says(&["not empty", "--force"]);
        let restored = shell.run("restore b.tar.gz --force --json").await.expect(0).hides(&[&key, SPARE_KEY]).json();
        assert_eq!(restored["encryption_key"], "ok", "{restored:#}");
        assert_tidy(&[&dir, &data, &workspace]);

        server.restart().await;
        assert_eq!(contents(&server).await, before);
        assert_eq!(text(workspace.join("fox/notes.txt")), "notes of the fox");
        assert_eq!(text(workspace.join("fox").join("x".repeat(180))), "a long name");
        assert_eq!((mode(&workspace.join("fox/run.sh")), workspace.join("fox/empty").is_dir()), (0o755, true));
        assert_eq!(text(data.join("skills/fly/SKILL.md")), "how to fly");
        assert!(!workspace.join("later.txt").exists() && fs::symlink_metadata(workspace.join("fox/link")).is_err());
        server.llm.forget();
        assert_eq!(ask(&server.owner(), "fox", "hello").await, DEFAULT_TEXT);
        assert_eq!(server.llm.questions()[0].header("authorization"), Some(&*format!("Bearer {SPARE_KEY}")));
    }

    async fn a_backup_is_restored_on_a_fresh_machine(edition) {
        let server = furnished(edition).await;
        let file = server.dir().join("b.tar.gz");
        Shell::beside(&server).with_programs().run(&format!("backup --output {}", file.display())).await.expect(0);
        let key = server.environment()["GOCLAW_ENCRYPTION_KEY"].clone();

        let mut machine = Machine::new(edition).await;
        machine.shell.set("GOCLAW_ENCRYPTION_KEY", &key).set("GOCLAW_ALLOW_PRIVATE_HOSTS", "127.0.0.1");
        let told = machine.run(&format!("restore {}", file.display())).await.expect(0).hides(&[&key]).out;
        assert!(told.contains("the encryption key opens the restored secrets"), "{told}");
        assert_eq!(text(machine.file(".goclaw/workspace/fox/notes.txt")), "notes of the fox");
        let gateway = machine.start().await;
        let agents = |listed: Value| listed.as_array().unwrap().iter().map(|agent| (agent["id"].clone(), agent["displayName"].clone())).collect::<Vec<_>>();
        assert_eq!(agents(machine.run("agent list --json").await.expect(0).json()), [(json!("fox"), json!("Reynard"))]);
        assert_eq!(machine.run("sessions list --json").await.expect(0).json()[0]["key"], fox_session("1"));
        server.llm.forget();
        machine.run("agent chat -n fox -m hello").await.expect(0);
        assert_eq!(server.llm.questions()[0].header("authorization"), Some(&*format!("Bearer {SPARE_KEY}")));
        machine.run("migrate up").await.expect(if edition == Edition::Lite { 4 } else { 0 });
        gateway.stop().await;
        machine.run("doctor").await.expect(0);
    }

    async fn files_of_messages_are_there_after_a_restore(edition) {
        let mut server = furnished(edition).await;
        let session = fox_session("files");
        let said = with_file(&server, &session).await;
        let shell = Shell::beside(&server).with_programs();
        shell.run("backup --output b.tar.gz").await.expect(0);
        server.stop().await;
        for directory in ["data", "workspace"] {
            fs::remove_dir_all(server.dir().join(directory)).unwrap();
            fs::create_dir(server.dir().join(directory)).unwrap();
        }
        shell.run("restore b.tar.gz --force").await.expect(0);
        server.restart().await;
        let messages = history(&mut server.owner_socket().await, &session).await;
        assert_eq!(without_signatures(&messages), without_signatures(&said));
        serves_the_file(&server.owner(), &messages[0]).await;
        server.llm.forget();
        server.owner_socket().await.call("chat.send", &message(&session, "what was in it?")).await.unwrap();
        assert!(server.llm.questions()[0].texts_of("user")[0].contains(FILE_NAME), "the model is told of it again");
    }

    async fn a_missing_or_wrong_key_is_told_after_a_restore(edition) {
        let server = furnished(edition).await;
        let file = server.dir().join("b.tar.gz");
        Shell::beside(&server).with_programs().run(&format!("backup --output {} --without-files", file.display())).await.expect(0);
        let mut machine = Machine::new(edition).await;
        machine.shell.unset("GOCLAW_ENCRYPTION_KEY");
        let line = format!("restore {} --json", file.display());
        assert_eq!(machine.run(&line).await.expect(0).json()["encryption_key"], "missing");
        assert!(!machine.file(".goclaw/workspace/fox").exists(), "the backup holds no files");
        machine.run("").await.expect(1).says(&["encryption.key"]);
        machine.shell.set("GOCLAW_ENCRYPTION_KEY", &"ab".repeat(32));
        assert_eq!(machine.run(&format!("{line} --force")).await.expect(0).json()["encryption_key"], "wrong");
        machine.run("").await.expect(1).says(&["encryption key is not the one"]);
    }

    async fn a_backup_is_whole_while_the_gateway_writes(edition) {
        let mut server = furnished(edition).await;
        let shell = Shell::beside(&server).with_programs();
        let stop = Arc::new(AtomicBool::new(false));
        let writers: Vec<_> = (0..3)
            .map(|n| {
                let (stop, owner) = (stop.clone(), server.owner());
                tokio::spawn(async move {
                    let mut said = 0;
                    while !stop.load(Ordering::Relaxed) {
                        ask(&owner, "fox", &format!("message {n}.{said}")).await;
                        said += 1;
                    }
                    said
                })
            })
            .collect();
        for name in ["one.tar.gz", "two.tar.gz"] {
            shell.run(&format!("backup --output {name}")).await.expect(0);
        }
        stop.store(true, Ordering::Relaxed);
        let mut said = 0;
        for writer in writers {
            said += within("a writer to end", writer).await.unwrap();
        }
        assert!(said > 0);
        server.stop().await;
        shell.run("restore two.tar.gz --force").await.expect(0);
        shell.run("doctor").await.expect(0);
        server.restart().await;
        let page = server.owner_socket().await.call("sessions.list", &json!({"limit": 200})).await.unwrap();
        let total = page["total"].as_i64().unwrap();
        assert!(total >= 1 && total <= said + 1, "{total} of {said}");
        for session in page["sessions"].as_array().unwrap() {
            let history = server.owner_socket().await.call("chat.history", &json!({"sessionKey": session["key"]})).await.unwrap();
            assert_eq!(history["messages"].as_array().unwrap().len(), usize::try_from(session["messageCount"].as_i64().unwrap()).unwrap(), "{session}");
        }
    }

    async fn there_is_nothing_to_back_up_before_the_first_start(edition) {
        let machine = Machine::new(edition).await;
        machine.run("backup --output b.tar.gz").await.expect(4);
        assert_eq!(fs::read_dir(&machine.shell.dir).unwrap().count(), 0);
    }
}

#[tokio::test]
async fn the_keys_are_in_a_backup_only_if_they_are_asked_for() {
    let mut machine = Machine::new(Edition::Lite).await;
    machine.start().await.stop().await;
    let key = text(machine.file(".goclaw/data/encryption.key"));
    fs::hard_link(machine.file(".goclaw/data/encryption.key"), machine.file(".goclaw/workspace/innocent")).unwrap();
    assert!(machine.run("backup --output without.tar.gz").await.expect(0).out.contains("does not hold the encryption key"));
    assert!(machine.run("backup --output with.tar.gz --include-key").await.expect(0).hides(&[key.trim()]).out.contains("It holds the encryption key"));
    let files = |name: &str| {
        let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(fs::File::open(machine.file(name)).unwrap()));
        archive.entries().unwrap().map(|entry| entry.unwrap().path().unwrap().to_string_lossy().into_owned()).collect::<Vec<_>>()
    };
    assert_eq!(files("without.tar.gz"), ["manifest.json", "database/goclaw.db", "checksums.json"]);
    assert_eq!(files("with.tar.gz"), ["manifest.json", "database/goclaw.db", "keys/encryption.key", "keys/gateway.token", "checksums.json"]);

    let mut other = Machine::new(Edition::Lite).await;
    let restored = other.run(&format!("restore {} --json", machine.file("with.tar.gz").display())).await.expect(0).json();
    assert_eq!(restored["encryption_key"], "ok", "{restored:#}");
    for name in ["encryption.key", "gateway.token"] {
        let path = other.file(".goclaw/data").join(name);
        assert_eq!((text(&path), mode(&path)), (text(machine.file(".goclaw/data").join(name)), 0o600));
    }
    other.start().await.stop().await;
}

#[tokio::test]
async fn a_passphrase_opens_a_backup_on_another_machine() {
    let mut machine = Machine::new(Edition::Lite).await;
    machine.shell.set("GOCLAW_ENCRYPTION_KEY", "correct-horse-battery-staple");
    machine.start().await.stop().await;
    machine.run("backup --output b.tar.gz").await.expect(0);
    let mut other = Machine::new(Edition::Lite).await;
    other.shell.set("GOCLAW_ENCRYPTION_KEY", "correct-horse-battery-staple");
    let restored = other.run(&format!("restore {} --json", machine.file("b.tar.gz").display())).await.expect(0).json();
    assert_eq!(restored["encryption_key"], "ok", "{restored:#}");
    other.start().await.stop().await;
}

#[tokio::test]
async fn without_its_programs_postgres_is_not_backed_up() {
    let mut machine = Machine::migrated(Edition::Standard).await;
    machine.shell.set("PATH", "/nowhere");
    machine.run("backup --output b.tar.gz").await.expect(4).says(&["pg_dump", "postgresql-client"]).hides(&[UPSTREAM_KEY]);
    assert!(!machine.file("b.tar.gz").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_walls_between_tenants_stand_after_a_restore() {
    let server = furnished(Edition::Standard).await;
    let file = server.dir().join("b.tar.gz");
    Shell::beside(&server).with_programs().run(&format!("backup --output {}", file.display())).await.expect(0);
    let machine = Machine::new(Edition::Standard).await;
    machine.run(&format!("restore {}", file.display())).await.expect(0);

    const WALLS: &str = "select string_agg(line, E'\\n' order by line) from (
        select c.relname || ' ' || c.relrowsecurity || c.relforcerowsecurity || ' ' || coalesce((select string_agg(p.polname, ',' order by p.polname) from pg_policy p where p.polrelid = c.oid), '')
            || ' ' || (select string_agg(distinct r.rolname || ':' || a.privilege_type, ',' order by r.rolname || ':' || a.privilege_type)
                from aclexplode(c.relacl) a join pg_roles r on r.oid = a.grantee where r.rolname like 'goclaw%') as line
        from pg_class c where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p')
        union all select 'default ' || d.defaclobjtype::text || ' ' || r.rolname || ':' || string_agg(a.privilege_type, ',' order by a.privilege_type)
        from pg_default_acl d cross join aclexplode(d.defaclacl) a join pg_roles r on r.oid = a.grantee where r.rolname like 'goclaw%' group by d.defaclobjtype, r.rolname) lines";
    const AGENTS: &str = "select count(*) from agents";
    let mut walls = Vec::new();
    for dsn in [&server.environment()["GOCLAW_POSTGRES_DSN"], &machine.shell.environment["GOCLAW_POSTGRES_DSN"]] {
        let (client, connection) = tokio_postgres::connect(dsn, tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        walls.push(client.query_one(WALLS, &[]).await.unwrap().get::<_, String>(0));
        client.batch_execute("set role goclaw_tenant").await.unwrap();
        assert_eq!(client.query_one(AGENTS, &[]).await.unwrap().get::<_, i64>(0), 0, "no tenant, no rows");
        client.batch_execute("set role goclaw_engine").await.unwrap();
        assert_eq!(client.query_one(AGENTS, &[]).await.unwrap().get::<_, i64>(0), 1);
    }
    assert!(walls[0].contains("tenant_rows") && walls[0].contains("default "), "{}", walls[0]);
    assert_eq!(walls[0], walls[1]);
}

/// The tables' owner is subject to their walls as well: a dump that it makes must hold every row all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_without_special_rights_backs_up_and_restores() {
    let mut machine = Machine::new(Edition::Standard).await;
    let admin_dsn = machine.shell.environment["GOCLAW_POSTGRES_DSN"].clone();
    let mut dsn = url::Url::parse(&admin_dsn).unwrap();
    let database = dsn.path().trim_start_matches('/').to_owned();
    let (user, password) = (format!("{database}_owner"), "a-password-of-the-test");
    let (admin, connection) = tokio_postgres::connect(&admin_dsn, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    admin.batch_execute(&format!("create role {user} login createrole password '{password}'; alter database {database} owner to {user}")).await.unwrap();
    // The roles belong to the whole server; who did not make them is granted them by an administrator.
    machine.run("migrate up").await.expect(0);
    machine.run("migrate drop --yes").await.expect(0);
    admin.batch_execute(&format!("grant goclaw_tenant, goclaw_engine to {user}")).await.unwrap();
    dsn.set_username(&user).unwrap();
    dsn.set_password(Some(password)).unwrap();
    machine.shell.set("GOCLAW_POSTGRES_DSN", dsn.as_str());

    machine.run("migrate up").await.expect(0);
    let gateway = machine.start().await;
    machine.run("agent add --name fox --provider openai --model stub").await.expect(0);
    gateway.stop().await;
    machine.run("backup --output b.tar.gz").await.expect(0).hides(&[password]);
    machine.run("migrate drop --yes").await.expect(0);
    machine.run("restore b.tar.gz").await.expect(0).hides(&[password]);
    let gateway = machine.start().await;
    assert_eq!(machine.run("agent list --json").await.expect(0).json()[0]["id"], "fox");
    gateway.stop().await;
    admin.batch_execute(&format!("alter database {database} owner to current_user; drop owned by {user} cascade; drop role {user}")).await.unwrap();
}
