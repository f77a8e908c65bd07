//! Tools never leave their workspace, and the gateway never calls private addresses on somebody's word.

use crate::{
    common::{Tenants, create_agent, create_agent_with, with_fox},
    upstream::walk,
};
use goclaw_tests::{FakeLlm, Http, Server, Setup};
use serde_json::{Value, json};
use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

async fn refused(client: &Http, tool: &str, args: Value) -> String {
    let reply = client.post("/v1/tools/invoke", &json!({"tool": tool, "args": args, "agentId": "fox"})).await;
    let body = reply.expect(400);
    assert_eq!(body["error"]["code"], "TOOL_ERROR", "{tool} {args}: {body}");
    body["error"]["message"].as_str().unwrap().to_owned()
}

/// The directory that the agent `fox` works in for the owner.
async fn workspace(server: &Server) -> PathBuf {
    let body = json!({"tool": "write_file", "args": {"path": "here.txt", "content": "x"}, "agentId": "fox"});
    server.owner().post("/v1/tools/invoke", &body).await.expect(200);
    let found: Vec<_> = walk(&server.dir().join("workspace")).into_iter().filter(|path| path.ends_with("here.txt")).collect();
    assert_eq!(found.len(), 1);
    found[0].parent().unwrap().to_owned()
}

async fn assert_out_of_reach(server: &Server, path: &str, outside: &Path) {
    let before = fs::read(outside).ok();
    for (tool, args) in [
        ("read_file", json!({"path": path})),
        ("write_file", json!({"path": path, "content": "overwritten"})),
        ("write_file", json!({"path": path, "content": "overwritten", "append": true})),
        ("edit", json!({"path": path, "old_string": "secret", "new_string": "overwritten"})),
    ] {
        let text = refused(&server.owner(), tool, args).await;
        assert!(!text.contains("secret-content"), "{tool} {path}: {text}");
    }
    assert_eq!(fs::read(outside).ok(), before, "{path}");
}

on_both_editions! {
    async fn paths_that_leave_the_workspace_are_refused(edition) {
        let server = with_fox(edition).await;
        let inside = workspace(&server).await;
        let outside = server.dir().join("secret.txt");
        fs::write(&outside, "secret-content").unwrap();
        let up = "../".repeat(inside.components().count());
        let absolute = outside.to_string_lossy().into_owned();
        for path in [absolute.clone(), format!("{up}{}", absolute.trim_start_matches('/')), "../../../../../../../../etc/passwd".into(), "/etc/passwd".into(), format!("{}/../../../../../secret.txt", inside.display())] {
            assert_out_of_reach(&server, &path, &outside).await;
        }
    }

    async fn links_that_leave_the_workspace_are_refused(edition) {
        let server = with_fox(edition).await;
        let inside = workspace(&server).await;
        let outside = server.dir().join("secret.txt");
        fs::write(&outside, "secret-content").unwrap();
        symlink(&outside, inside.join("link.txt")).unwrap();
        symlink(server.dir(), inside.join("dir")).unwrap();
        symlink(server.dir().join("not-there-yet.txt"), inside.join("dangling.txt")).unwrap();
        fs::hard_link(&outside, inside.join("hard.txt")).unwrap();
        for path in ["link.txt", "dir/secret.txt", "hard.txt"] {
            assert_out_of_reach(&server, path, &outside).await;
        }
        refused(&server.owner(), "write_file", json!({"path": "dangling.txt", "content": "x"})).await;
        refused(&server.owner(), "write_file", json!({"path": "dir/new.txt", "content": "x"})).await;
        assert!(!server.dir().join("not-there-yet.txt").exists() && !server.dir().join("new.txt").exists());
        refused(&server.owner(), "list_files", json!({"path": "dir"})).await;
    }

    async fn files_of_others_are_out_of_reach(edition) {
        let tenants = Tenants::start(edition).await;
        create_agent_with(&tenants.client(&tenants.a_admin, "mai"), "fox", json!({"is_default": true})).await;
        create_agent(&tenants.client(&tenants.b_admin, "mai"), "fox").await;
        let call = |tool: &str, args: Value| json!({"tool": tool, "args": args, "agentId": "fox"});
        let mai = tenants.client(&tenants.a_operator, "mai");
        mai.post("/v1/tools/invoke", &call("write_file", json!({"path": "diary.txt", "content": "secret of mai"}))).await.expect(200);
        let diary = walk(&tenants.server.dir().join("workspace")).into_iter().find(|path| path.ends_with("diary.txt")).unwrap();
        for other in [tenants.client(&tenants.a_operator, "lan"), tenants.client(&tenants.b_admin, "mai")] {
            for path in ["diary.txt".to_owned(), "../mai/diary.txt".to_owned(), diary.to_string_lossy().into_owned()] {
                let reply = other.post("/v1/tools/invoke", &call("read_file", json!({"path": path}))).await;
                assert!(reply.status == 400 && !reply.text().contains("secret of mai"), "{path}: {}", reply.text());
            }
            assert!(!other.post("/v1/tools/invoke", &call("list_files", json!({}))).await.text().contains("diary"));
        }
    }

    async fn the_gateways_own_files_are_out_of_reach(edition) {
        let server = with_fox(edition).await;
        workspace(&server).await;
        let config = server.dir().join("config.json5");
        let data = server.dir().join("data");
        for path in [config.clone(), data.join("goclaw.db")] {
            refused(&server.owner(), "read_file", json!({"path": path.to_string_lossy()})).await;
            refused(&server.owner(), "exec", json!({"command": format!("cat {}", path.display())})).await;
        }
    }

    async fn private_addresses_are_not_fetched(edition) {
        let other = FakeLlm::start();
        let server = Setup::new(edition).await.without_env("GOCLAW_ALLOW_PRIVATE_HOSTS").start().await;
        create_agent(&server.owner(), "fox").await;
        let port = other.base().rsplit(':').next().unwrap().to_owned();
        for url in [
            "http://localhost/".to_owned(), format!("http://127.0.0.1:{port}"), "http://[::1]/".into(), "http://169.254.169.254/latest/meta-data".into(), "http://metadata.google.internal/".into(), "http://10.0.0.1/".into(),
            "http://192.168.1.1/".into(), "http://0.0.0.0/".into(), "http://[::ffff:10.0.0.1]/".into(), "http://2130706433/".into(), "http://0x7f.1/".into(), "http://x.local/".into(), "http://100.64.0.1/".into(),
        ] {
            let text = refused(&server.owner(), "web_fetch", json!({"url": url})).await;
            assert!(text.contains("SSRF protection"), "{url}: {text}");
        }
        for url in ["ftp://example.com/", "file:///etc/passwd", "javascript:alert(1)", "http://", "not a url", ""] {
            refused(&server.owner(), "web_fetch", json!({"url": url})).await;
        }
        assert!(other.requests().is_empty(), "nothing was called");
    }

    async fn providers_at_private_addresses_are_refused(edition) {
        let server = Server::start(edition).await;
        for base in ["http://169.254.169.254/", "http://[::ffff:10.0.0.1]/", "ftp://x", "http://localhost:1/", "http://10.1.2.3/", "http://x.internal/", "http://x.local", "http://[fe80::1]/", "not a url", "file:///etc/passwd"] {
            let body = json!({"name": "p", "provider_type": "openai_compat", "api_base": base, "api_key": "k", "enabled": true});
            let (text, code) = server.owner().post("/v1/providers", &body).await.expect_error(400);
            assert_eq!(code, "INVALID_REQUEST", "{base}: {text}");
        }
        assert_eq!(server.owner().get("/v1/providers").await.expect(200), json!({"providers": []}));
    }
}
