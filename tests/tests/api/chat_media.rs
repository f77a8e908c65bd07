//! Files in messages: on their way in, to the model, in the history, and out again.

use crate::{
    accounts::account,
    common::{Tenants, create_agent, create_agent_with, fox_session, history, message, question, streamed, with_fox},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use goclaw_tests::{
    Answer, Edition, Http, Server, Setup, WsClient, eventually,
    fake_llm::{Gate, SUMMARY},
    sse::joined_text,
};
use serde_json::{Value, json};
use std::{fs, path::Path};

/// One pixel.
const PNG: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";

fn png() -> Vec<u8> {
    BASE64_STANDARD.decode(PNG).unwrap()
}

async fn upload(client: &Http, name: &str, content: &[u8]) -> String {
    let taken = client.upload("/v1/media/upload", &[], name, content).await.expect(200);
    taken["path"].as_str().unwrap().to_owned()
}

fn with_media(session: &str, text: &str, media: Value) -> Value {
    let mut params = message(session, text);
    params["media"] = media;
    params
}

async fn code(socket: &mut WsClient, params: &Value) -> String {
    socket.call("chat.send", params).await.unwrap_err().code
}

/// The last message of the user that the model got.
fn asked_last(server: &Server) -> Value {
    let question = server.llm.questions().pop().unwrap();
    question.messages().iter().rfind(|message| message["role"] == "user").unwrap()["content"].clone()
}

/// The parts of a message that hold pictures.
fn pictures(content: &Value) -> Vec<Value> {
    let parts = content.as_array().cloned().unwrap_or_default();
    parts.into_iter().filter(|part| ["image", "image_url", "input_image"].contains(&part["type"].as_str().unwrap())).collect()
}

/// How many files lie below a directory.
fn files_below(directory: &Path) -> usize {
    let entries = fs::read_dir(directory).map(|entries| entries.flatten().collect::<Vec<_>>()).unwrap_or_default();
    entries.iter().map(|entry| if entry.path().is_dir() { files_below(&entry.path()) } else { 1 }).sum()
}

fn kept(server: &Server) -> std::path::PathBuf {
    server.dir().join("workspace/fox/ws/system/.uploads")
}

/// A gateway whose fox answers through the named provider.
async fn with_fox_of(edition: Edition, provider: &str) -> Server {
    let server = Server::start(edition).await;
    if provider == "codex" {
        server.owner().post("/v1/providers", &account(&server.llm, "codex", None, "")).await.expect(201);
    }
    create_agent_with(&server.owner(), "fox", json!({"provider": provider, "model": "stub"})).await;
    server
}

on_both_editions! {
    async fn a_picture_is_kept_shown_to_the_model_and_linked_in_the_history(edition) {
        let server = with_fox(edition).await;
        let path = upload(&server.owner(), "fox.png", &png()).await;
        let (mut socket, session) = (server.owner_socket().await, fox_session("1"));
        socket.call("chat.send", &with_media(&session, "What is this?", json!([{"path": path, "filename": "fox.png"}]))).await.unwrap();
        let stored = history(&mut socket, &session).await;
        let media = &stored[0]["media_refs"][0];
        let id = media["id"].as_str().unwrap();
        assert_eq!((&media["mime_type"], &media["kind"]), (&json!("image/jpeg"), &json!("image")));
        let on_disk = fs::canonicalize(kept(&server)).unwrap().join(format!("{id}.jpg"));
        let text = format!("<media:image id=\"{id}\" path=\"{}\">\n\nWhat is this?", on_disk.display());
        assert_eq!(stored[0]["content"], text);
        let jpeg = fs::read(&on_disk).unwrap();
        let link = media["path"].as_str().unwrap();
        assert!(link.starts_with("/v1/files/") && link.contains("?ft="), "{link}");
        let served = server.anonymous().get(link).await;
        assert_eq!((served.status, served.header("Content-Type"), &served.body), (200, "image/jpeg", &jpeg));
        assert_eq!(server.owner().get(&format!("/v1/media/{id}")).await.body, jpeg);
        let url = format!("data:image/jpeg;base64,{}", BASE64_STANDARD.encode(&jpeg));
        assert_eq!(asked_last(&server), json!([{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": text}]));

        socket.call("chat.send", &message(&session, "And now?")).await.unwrap();
        let question = server.llm.questions().pop().unwrap();
        assert_eq!(pictures(&question.messages()[1]["content"]).len(), 1, "the model sees it again");
        let preview = socket.call("sessions.preview", &json!({"key": session})).await.unwrap();
        assert!(preview["messages"][0]["media_refs"][0]["path"].as_str().unwrap().contains("?ft="));
        let log = server.log();
        assert!(!log.contains(&url[30..80]), "the log holds no pictures");
        let traces = server.owner().get("/v1/traces").await.expect(200);
        let trace = server.owner().get(&format!("/v1/traces/{}", traces["traces"][0]["id"].as_str().unwrap())).await.text();
        assert!(!trace.contains(&url[30..80]), "traces hold no pictures");
    }

    async fn each_vendor_gets_pictures_in_its_own_words(edition) {
        for (provider, expected) in [("anthropic", "image"), ("codex", "input_image")] {
            let server = with_fox_of(edition, provider).await;
            let path = upload(&server.owner(), "fox.png", &png()).await;
            let mut socket = server.owner_socket().await;
            socket.call("chat.send", &with_media(&fox_session("1"), "Look.", json!([path]))).await.unwrap();
            let content = asked_last(&server);
            let shown = pictures(&content);
            assert_eq!((shown.len(), shown[0]["type"].as_str().unwrap(), content.as_array().unwrap().len()), (1, expected, 2), "{content}");
            let jpeg = BASE64_STANDARD.encode(fs::read(fs::read_dir(kept(&server)).unwrap().next().unwrap().unwrap().path()).unwrap());
            match provider {
                "anthropic" => assert_eq!(shown[0]["source"], json!({"type": "base64", "media_type": "image/jpeg", "data": jpeg})),
                _ => assert_eq!(shown[0]["image_url"], format!("data:image/jpeg;base64,{jpeg}")),
            }
        }
    }

    async fn a_model_that_does_not_see_gets_words_instead(edition) {
        let server = with_fox(edition).await;
        let path = upload(&server.owner(), "fox.png", &png()).await;
        let (mut socket, session) = (server.owner_socket().await, fox_session("1"));
        server.llm.next(Answer::error(400, "this model does not support image input")).next(Answer::text("I cannot see it."));
        let result = socket.call("chat.send", &with_media(&session, "Look.", json!([path]))).await.unwrap();
        assert_eq!(result["content"], "I cannot see it.");
        let text = asked_last(&server);
        assert!(text.as_str().is_some_and(|text| text.starts_with("[An image is attached here, but this model cannot see images.]\n\n<media:image id=") && text.ends_with("Look.")), "{text}");
        socket.call("chat.send", &message(&session, "Really?")).await.unwrap();
        assert_eq!(server.llm.questions().len(), 3, "it is not asked in vain again");
    }

    async fn other_files_are_named_to_the_model(edition) {
        let server = with_fox(edition).await;
        let (owner, mut socket, session) = (server.owner(), server.owner_socket().await, fox_session("1"));
        let mut media = vec![];
        for (name, content) in [("Báo cáo.pdf", &b"%PDF-1.7"[..]), ("a.mp3", b"ID3"), ("a.mp4", b"x"), ("broken.png", b"\x89PNG\r\n\x1a\nnot much"), ("fake.png", b"hello"), ("a.svg", b"<svg/>")] {
            media.push(json!({"path": upload(&owner, name, content).await, "filename": name}));
        }
        socket.call("chat.send", &with_media(&session, "", json!(media))).await.unwrap();
        let stored = history(&mut socket, &session).await;
        let kinds: Vec<_> = stored[0]["media_refs"].as_array().unwrap().iter().map(|media| (media["mime_type"].as_str().unwrap(), media["kind"].as_str().unwrap())).collect();
        let expected = [("application/pdf", "document"), ("audio/mpeg", "audio"), ("video/mp4", "video"), ("image/png", "document"), ("text/plain", "document"), ("image/svg+xml", "document")];
        assert_eq!(kinds, expected);
        let text = asked_last(&server);
        let lines: Vec<&str> = text.as_str().expect("what is no picture is not shown").lines().collect();
        assert!(lines[0].starts_with("<media:document name=\"Báo cáo.pdf\" path=\"/") && lines[0].ends_with(".pdf\">"), "{text}");
        assert!(lines[1].starts_with("<media:audio id=\"") && lines[2].starts_with("<media:video id=\"") && lines.len() == 6, "{text}");
        // The agent can read what it was sent.
        let document = lines[4].split("path=\"").nth(1).unwrap().trim_end_matches("\">").to_owned();
        server.llm.next(Answer::tool("read_file", &json!({"path": document})));
        socket.call("chat.send", &message(&session, "Read it.")).await.unwrap();
        let heard = server.llm.questions().pop().unwrap();
        let read = heard.texts_of("tool").pop().unwrap();
        assert!(read.contains("hello"), "{read}");
    }

    async fn what_may_not_be_sent_is_refused_and_nothing_is_stored(edition) {
        let server = with_fox(edition).await;
        let (mut socket, session) = (server.owner_socket().await, fox_session("1"));
        let own = upload(&server.owner(), "a.txt", b"x").await;
        fs::write(server.dir().join("secret.txt"), "x").unwrap();
        let secret = server.dir().join("secret.txt");
        let link = Path::new(&own).with_file_name("link.txt");
        std::os::unix::fs::symlink(&secret, &link).unwrap();
        let key = server.dir().join("data/gateway.token");
        for path in [json!("/etc/passwd"), json!(secret), json!(link), json!(key), json!(server.dir().join("config.json5")), json!(format!("{own}x"))] {
            assert_eq!(code(&mut socket, &with_media(&session, "hi", json!([path]))).await, "NOT_FOUND", "{path}");
        }
        let climbing = format!("{}/../../../secret.txt", Path::new(&own).parent().unwrap().display());
        let many: Vec<_> = std::iter::repeat_n(json!(own), 11).collect();
        for media in [json!(["a.txt"]), json!([""]), json!([climbing]), json!(many), json!([{"filename": "a"}]), json!([7]), json!("x"), json!([{"path": own, "filename": "a/"}])] {
            assert_eq!(code(&mut socket, &with_media(&session, "hi", media.clone())).await, "INVALID_REQUEST", "{media}");
        }
        assert_eq!(code(&mut socket, &with_media(&session, "", json!([]))).await, "INVALID_REQUEST");
        let large = Path::new(&own).with_file_name("large.bin");
        fs::File::create(&large).unwrap().set_len((50 << 20) + 1).unwrap();
        assert_eq!(code(&mut socket, &with_media(&session, "hi", json!([large]))).await, "INVALID_REQUEST");
        assert!(server.llm.questions().is_empty() && history(&mut socket, &session).await.is_empty());
        assert_eq!(files_below(&server.dir().join("workspace")), 0);
    }

    async fn nobody_sends_what_is_anothers(edition) {
        let tenants = Tenants::start(edition).await;
        for key in [&tenants.a_admin, &tenants.b_admin] {
            create_agent_with(&tenants.client(key, "boss"), "fox", json!({"is_default": true})).await;
        }
        let path = upload(&tenants.client(&tenants.a_operator, "mai"), "a.png", &png()).await;
        create_agent(&tenants.server.owner(), "fox").await;
        for mut socket in [tenants.socket(&tenants.a_operator, "lan").await, tenants.socket(&tenants.b_admin, "mai").await, tenants.server.owner_socket().await] {
            assert_eq!(code(&mut socket, &with_media("", "hi", json!([path]))).await, "NOT_FOUND");
        }
        let mut mai = tenants.socket(&tenants.a_operator, "mai").await;
        let session = fox_session("1");
        mai.call("chat.send", &with_media(&session, "hi", json!([path]))).await.unwrap();
        let stored = history(&mut mai, &session).await;
        let id = stored[0]["media_refs"][0]["id"].as_str().unwrap();
        let url = format!("/v1/media/{id}");
        assert_eq!(tenants.client(&tenants.a_operator, "mai").get(&url).await.status, 200);
        for client in [tenants.client(&tenants.b_admin, "mai"), tenants.client(&tenants.a_operator, "lan")] {
            client.get(&url).await.expect_error(404);
        }
    }

    async fn a_message_for_a_run_under_way_brings_its_files_along(edition) {
        let server = with_fox(edition).await;
        let path = upload(&server.owner(), "fox.png", &png()).await;
        let gate = Gate::closed();
        server.llm.next(Answer::text("First.").gated(&gate)).next(Answer::text("Second."));
        let (mut socket, session) = (server.owner_socket().await, fox_session("1"));
        let first = socket.send("chat.send", &message(&session, "hello")).await;
        server.llm.wait_for_questions(1).await;
        let mut other = server.owner_socket().await;
        assert_eq!(other.call("chat.send", &with_media(&session, "Look.", json!([path]))).await.unwrap(), json!({"injected": true}));
        gate.open();
        assert_eq!(socket.answer(&first).await.unwrap()["content"], "Second.");
        assert_eq!(pictures(&asked_last(&server)).len(), 1);
        let stored = history(&mut socket, &session).await;
        assert_eq!(stored.iter().filter(|message| message["media_refs"][0]["kind"] == "image").count(), 1);
    }

    async fn pictures_come_over_rest_as_openais_clients_send_them(edition) {
        let server = with_fox(edition).await;
        let owner = server.owner();
        let url = format!("data:image/png;base64,{PNG}");
        let chat = |parts: Value| json!({"model": "goclaw:fox", "messages": [{"role": "user", "content": parts}]});
        let image = json!({"type": "image_url", "image_url": {"url": url, "detail": "low"}});
        owner.post("/v1/chat/completions", &chat(json!([{"type": "text", "text": "What?"}, image]))).await.expect(200);
        let content = asked_last(&server);
        assert!(content[1]["text"].as_str().unwrap().ends_with("What?") && content[0]["image_url"]["url"].as_str().unwrap().starts_with("data:image/jpeg;base64,"), "{content}");
        owner.post("/v1/chat/completions", &chat(json!([image]))).await.expect(200);
        assert_eq!(pictures(&asked_last(&server)).len(), 1, "a picture is a question");
        let input = json!({"model": "goclaw:fox", "input": [{"role": "user", "content": [{"type": "input_text", "text": "What?"}, {"type": "input_image", "image_url": url}]}]});
        owner.post("/v1/responses", &input).await.expect(200);
        assert_eq!(pictures(&asked_last(&server)).len(), 1);
        let asked = server.llm.questions().len();
        for wrong in [json!({"url": "https://example.com/a.png"}), json!({"url": "data:image/png;base64,aGVsbG8="}), json!({"url": "data:text/html;base64,aGVsbG8="}), json!({}), Value::Null] {
            let reply = owner.post("/v1/chat/completions", &chat(json!([{"type": "text", "text": "What?"}, {"type": "image_url", "image_url": wrong}]))).await;
            assert_eq!(reply.status, 400, "{wrong}: {}", reply.text());
        }
        let many: Vec<_> = std::iter::repeat_n(image, 11).collect();
        assert_eq!(owner.post("/v1/chat/completions", &chat(json!(many))).await.status, 400);
        assert_eq!(server.llm.questions().len(), asked);
    }

    async fn files_that_tools_make_come_with_the_answer(edition) {
        let server = with_fox(edition).await;
        let workspace = server.dir().join("workspace/fox/ws/system");
        fs::create_dir_all(&workspace).unwrap();
        fs::write(workspace.join("chart.png"), png()).unwrap();
        fs::write(server.dir().join("secret.txt"), "x").unwrap();
        let secret = server.dir().join("secret.txt");
        let told = |path: &str| Answer::tool("exec", &json!({"command": format!("echo MEDIA:{path}")}));
        server.llm.next(told("chart.png")).next(told(secret.to_str().unwrap())).next(Answer::text("Here."));
        let (mut socket, session) = (server.owner_socket().await, fox_session("1"));
        let id = socket.send("chat.send", &message(&session, "Draw.")).await;
        let events = socket.run_events().await;
        let result = socket.answer(&id).await.unwrap();
        let completed = &events.last().unwrap()["payload"];
        for media in [&result["media"], &completed["media"]] {
            assert_eq!((media.as_array().unwrap().len(), &media[0]["content_type"], &media[0]["size"]), (1, &json!("image/png"), &json!(png().len())));
            let link = media[0]["path"].as_str().unwrap();
            assert_eq!(server.anonymous().get(link).await.body, png(), "{link}");
        }
        let stored = history(&mut socket, &session).await;
        let media = &stored.last().unwrap()["media_refs"][0];
        assert_eq!((&media["id"], &media["kind"]), (&json!("chart.png"), &json!("image")));
        assert_eq!(server.anonymous().get(media["path"].as_str().unwrap()).await.body, png());
    }

    async fn links_to_own_files_are_signed_wherever_the_text_goes_and_others_never(edition) {
        let mut server = with_fox(edition).await;
        let workspace = server.dir().join("workspace/fox/ws/system");
        fs::create_dir_all(&workspace).unwrap();
        fs::write(workspace.join("a.txt"), "mine").unwrap();
        fs::create_dir_all(server.dir().join("workspace/fox/ws/lan")).unwrap();
        fs::write(server.dir().join("workspace/fox/ws/lan/b.txt"), "hers").unwrap();
        let url = |name: &str| format!("/v1/files{}/workspace/fox/ws/{name}", server.dir().display());
        let (own, hers) = (url("system/a.txt"), url("lan/b.txt"));
        server.llm.always(Answer::text(format!("See [a]({own}) and {hers}?ft=~.")).chunks(9));
        let (mut socket, session) = (server.owner_socket().await, fox_session("1"));
        let id = socket.send("chat.send", &message(&session, "hello")).await;
        let events = socket.run_events().await;
        let answer = socket.answer(&id).await.unwrap()["content"].as_str().unwrap().to_owned();
        let streamed: String = events.iter().filter(|event| event["type"] == "chunk").map(|event| event["payload"]["content"].as_str().unwrap()).collect();
        let completed = events.last().unwrap()["payload"]["content"].as_str().unwrap().to_owned();
        let rest = server.gateway_user("system").post("/v1/agents/fox/wake", &json!({"message": "hello", "session_key": session})).await.expect(200);
        for text in [&answer, &streamed, &completed] {
            let link = text.split(['(', ')']).nth(1).unwrap();
            assert!(text.ends_with(&format!(" and {hers}.")), "{text}");
            assert_eq!(server.anonymous().get(link).await.text(), "mine", "{text}");
        }
        assert!(rest["content"].as_str().unwrap_or_default().ends_with(&format!("{hers}.")), "{rest}");
        server.stop().await;
        let stored = server.stores().await.sessions.messages(goclaw_ports::TenantId::MASTER, &session, None).await.unwrap();
        assert!(stored.iter().all(|message| !message.content.contains("?ft=") || message.content.contains("?ft=~")), "no signature is stored");
    }

    async fn links_are_signed_in_answers_over_rest(edition) {
        let server = with_fox(edition).await;
        let workspace = server.dir().join("workspace/fox/http/system");
        fs::create_dir_all(&workspace).unwrap();
        fs::write(workspace.join("a.txt"), "mine").unwrap();
        let url = |name: &str| format!("/v1/files{}/workspace/fox/{name}", server.dir().display());
        let (own, hers) = (url("http/system/a.txt"), url("http/lan/b.txt"));
        server.llm.always(Answer::text(format!("See [a]({own}) and {hers}.")).chunks(9));
        let owner = server.owner();
        let whole = owner.post("/v1/chat/completions", &question("fox", "hi")).await.expect(200)["choices"][0]["message"]["content"].take();
        let response = owner.post("/v1/responses", &question("fox", "hi")).await.expect(200)["output"][0]["content"][0]["text"].take();
        let chunks = joined_text(&owner.stream("/v1/chat/completions", &streamed("fox", "hi")).await.rest().await);
        let records = owner.stream("/v1/responses", &streamed("fox", "hi")).await.rest().await;
        let deltas: String = records.iter().filter_map(|record| serde_json::from_str::<Value>(record).unwrap()["delta"]["content"].as_str().map(str::to_owned)).collect();
        for text in [whole.as_str().unwrap(), response.as_str().unwrap(), &chunks, &deltas] {
            let link = text.split(['(', ')']).nth(1).unwrap();
            assert!(text.ends_with(&format!(" and {hers}.")), "{text}");
            assert_eq!(server.anonymous().get(link).await.text(), "mine", "{text}");
        }
    }

    async fn a_tool_tells_of_its_files_with_links_that_open_them_and_no_others(edition) {
        let server = with_fox(edition).await;
        let workspace = server.dir().join("workspace/fox/ws/system");
        fs::create_dir_all(&workspace).unwrap();
        fs::write(workspace.join("chart.png"), png()).unwrap();
        fs::create_dir_all(server.dir().join("workspace/fox/ws/lan")).unwrap();
        fs::write(server.dir().join("workspace/fox/ws/lan/b.txt"), "hers").unwrap();
        let url = |name: &str| format!("/v1/files{}/workspace/fox/ws/{name}", server.dir().display());
        let says = |text: String| Answer::tool("exec", &json!({"command": format!("echo '{text}'")}));
        let fails = |text: String| Answer::tool("exec", &json!({"command": format!("echo '{text}'; exit 3")}));
        let (own, hers) = (url("system/chart.png"), url("lan/b.txt?ft=~"));
        server.llm.next(says("MEDIA:chart.png".into())).next(says(format!("[own]({own}) {hers}"))).next(fails(format!("[own]({own}) {hers}"))).next(Answer::text("Here."));
        let (mut socket, session) = (server.owner_socket().await, fox_session("1"));
        socket.call("chat.send", &message(&session, "Draw.")).await.unwrap();
        let events = socket.run_events().await;
        let told: Vec<&Value> = events.iter().filter(|event| event["type"] == "tool.result").map(|event| &event["payload"]).collect();
        let media = told[0]["media"].as_array().unwrap();
        assert_eq!((media.len(), &media[0]["content_type"], &media[0]["size"]), (1, &json!("image/png"), &json!(png().len())));
        let mut links = vec![media[0]["path"].as_str().unwrap()];
        assert!(told[1].get("media").is_none());
        for text in [&told[1]["result"], &told[2]["result"], &told[2]["content"]] {
            let text = text.as_str().unwrap();
            let link = text.split(['(', ')']).find(|part| part.starts_with("/v1/files/")).unwrap();
            assert!(text.contains("/ws/lan/b.txt") && !text.contains("b.txt?ft="), "{text}");
            links.push(link);
        }
        for link in links {
            assert_eq!(server.anonymous().get(link).await.body, png(), "{link}");
        }
    }

    async fn files_go_when_their_session_is_reset(edition) {
        let server = with_fox(edition).await;
        let (owner, mut socket) = (server.owner(), server.owner_socket().await);
        let path = upload(&owner, "a.png", &png()).await;
        let [one, two] = [fox_session("1"), fox_session("2")];
        for session in [&one, &two] {
            socket.call("chat.send", &with_media(session, "hi", json!([path]))).await.unwrap();
        }
        let id = history(&mut socket, &one).await[0]["media_refs"][0]["id"].as_str().unwrap().to_owned();
        socket.call("sessions.reset", &json!({"key": one})).await.unwrap();
        assert_eq!(files_below(&kept(&server)), 1);
        owner.get(&format!("/v1/media/{id}")).await.expect_error(404);
        // What comes afterwards stays.
        socket.call("chat.send", &with_media(&one, "hi", json!([path]))).await.unwrap();
        let media = history(&mut socket, &one).await[0]["media_refs"][0].clone();
        assert_eq!(server.anonymous().get(media["path"].as_str().unwrap()).await.status, 200);
        assert_eq!(files_below(&kept(&server)), 2);
    }

    async fn a_tenant_keeps_so_many_files_and_no_more(edition) {
        let tenants = Tenants::start_with(Setup::new(edition).await.config(json!({"gateway": {"media_quota_mb": 1}}))).await;
        for key in [&tenants.a_admin, &tenants.b_admin] {
            create_agent_with(&tenants.client(key, "boss"), "fox", json!({"is_default": true})).await;
        }
        let workspaces = |tenant: &str| tenants.server.dir().join(format!("workspace/tenants/{tenant}"));
        let (mai, mut socket) = (tenants.client(&tenants.a_operator, "mai"), tenants.socket(&tenants.a_operator, "mai").await);
        let [one, two, three] = ["1", "2", "3"].map(fox_session);
        let part = upload(&mai, "part.bin", &vec![7; 700 << 10]).await;
        socket.call("chat.send", &with_media(&one, "hi", json!([part]))).await.unwrap();
        let refused = socket.call("chat.send", &with_media(&two, "hi", json!([part]))).await.unwrap_err();
        assert_eq!(refused.code, "FAILED_PRECONDITION");
        assert!(refused.message.contains("1 MB"), "{}", refused.message);
        assert!(history(&mut socket, &two).await.is_empty() && files_below(&workspaces("a")) == 1, "nothing of it is stored");
        assert_eq!(tenants.server.llm.questions().len(), 1);
        // A conversation goes on without files, in it and over REST; pictures over REST count as well.
        socket.call("chat.send", &message(&one, "And now?")).await.unwrap();
        let small = upload(&mai, "small.bin", &vec![7; 300 << 10]).await;
        socket.call("chat.send", &with_media(&three, "hi", json!([small]))).await.unwrap();
        let picture = json!([{"type": "image_url", "image_url": {"url": format!("data:image/png;base64,{PNG}")}}]);
        let chat = |parts: &Value| json!({"model": "goclaw:fox", "messages": [{"role": "user", "content": parts}]});
        mai.post("/v1/chat/completions", &chat(&picture)).await.expect(200);
        let large = upload(&mai, "large.bin", &vec![7; 30 << 10]).await;
        assert_eq!(code(&mut socket, &with_media(&three, "hi", json!([large]))).await, "FAILED_PRECONDITION");
        // Another tenant has its own.
        let (lan, mut others) = (tenants.client(&tenants.b_admin, "lan"), tenants.socket(&tenants.b_admin, "lan").await);
        let of_b = upload(&lan, "b.bin", &vec![7; 700 << 10]).await;
        others.call("chat.send", &with_media(&one, "hi", json!([of_b]))).await.unwrap();
        // Who gives something up has room again, at once.
        socket.call("sessions.reset", &json!({"key": one})).await.unwrap();
        socket.call("chat.send", &with_media(&two, "hi", json!([part]))).await.unwrap();
        socket.call("sessions.delete", &json!({"key": two})).await.unwrap();
        socket.call("chat.send", &with_media(&three, "hi", json!([part]))).await.unwrap();
    }

    async fn where_a_tenant_keeps_too_much_nothing_more_is_uploaded(edition) {
        let server = Setup::new(edition).await.config(json!({"gateway": {"media_quota_mb": 1}})).start().await;
        create_agent(&server.owner(), "fox").await;
        let (owner, mut socket) = (server.owner(), server.owner_socket().await);
        let all = upload(&owner, "all.bin", &vec![7; 1 << 20]).await;
        socket.call("chat.send", &with_media(&fox_session("1"), "hi", json!([all]))).await.unwrap();
        let (text, code) = owner.clone().header("Accept-Language", "vi").upload("/v1/media/upload", &[], "a.txt", b"x").await.expect_error(409);
        assert!(text.contains("1 MB") && text.contains("tệp") && code == "FAILED_PRECONDITION", "{text}");
        let picture = json!([{"type": "image_url", "image_url": {"url": format!("data:image/png;base64,{PNG}")}}]);
        let refused = owner.post("/v1/chat/completions", &json!({"model": "goclaw:fox", "messages": [{"role": "user", "content": picture}]})).await;
        assert_eq!(refused.status, 409, "{}", refused.text());
        socket.call("sessions.delete", &json!({"key": fox_session("1")})).await.unwrap();
        upload(&owner, "a.txt", b"x").await;
    }

    async fn pictures_count_where_a_conversation_fills_the_context(edition) {
        let server = Server::start(edition).await;
        create_agent_with(&server.owner(), "fox", json!({"context_window": 9_000})).await;
        server.llm.always(Answer::text("I see.").without_usage());
        let path = upload(&server.owner(), "fox.png", &png()).await;
        let (mut socket, session) = (server.owner_socket().await, fox_session("1"));
        for _ in 0..5 {
            socket.call("chat.send", &with_media(&session, "Look.", json!([path]))).await.unwrap();
        }
        // Five words each would not fill anything; five pictures do.
        eventually("the summary", async || {
            socket.call("sessions.preview", &json!({"key": session})).await.unwrap()["summary"] == SUMMARY
        })
        .await;
    }

    async fn files_go_with_their_session(edition) {
        let server = with_fox(edition).await;
        let (owner, mut socket) = (server.owner(), server.owner_socket().await);
        let path = upload(&owner, "a.png", &png()).await;
        let [one, two] = [fox_session("1"), fox_session("2")];
        for session in [&one, &two] {
            socket.call("chat.send", &with_media(session, "hi", json!([path, path]))).await.unwrap();
        }
        assert_eq!(files_below(&kept(&server)), 4);
        let id = history(&mut socket, &one).await[0]["media_refs"][0]["id"].as_str().unwrap().to_owned();
        socket.call("sessions.delete", &json!({"key": one})).await.unwrap();
        assert_eq!(files_below(&kept(&server)), 2);
        owner.get(&format!("/v1/media/{id}")).await.expect_error(404);
        assert!(Path::new(&path).exists(), "the upload has a time of its own");
    }

    async fn an_upload_outlives_a_crash_before_it_is_sent(edition) {
        let mut server = with_fox(edition).await;
        let path = upload(&server.owner(), "a.png", &png()).await;
        server.crash().await;
        server.restart().await;
        let (mut socket, session) = (server.owner_socket().await, fox_session("1"));
        server.llm.next(Answer::text("Once").then_stall());
        socket.send("chat.send", &with_media(&session, "hi", json!([path]))).await;
        server.llm.wait_for_questions(1).await;
        server.crash().await;
        server.restart().await;
        let stored = history(&mut server.owner_socket().await, &session).await;
        let media = &stored[0]["media_refs"][0];
        assert_eq!(server.anonymous().get(media["path"].as_str().unwrap()).await.status, 200);
    }
}
