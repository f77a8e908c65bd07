//! Files that are sent for messages.

use crate::common::Tenants;
use goclaw_tests::{Http, Reply};
use serde_json::{Value, json};
use std::{fs, path::Path};

const PNG: &[u8] = b"\x89PNG\r\n\x1a\nnot much of a picture";

async fn upload(client: &Http, name: &str, content: &[u8]) -> Reply {
    client.upload("/v1/media/upload", &[], name, content).await
}

on_both_editions! {
    async fn a_file_is_taken_and_can_be_read_by_its_sender(edition) {
        let tenants = Tenants::start(edition).await;
        let mai = tenants.client(&tenants.a_operator, "mai");
        let taken = upload(&mai, "../Ảnh của tôi.PNG", PNG).await.expect(200);
        assert_eq!((&taken["mime_type"], &taken["filename"]), (&json!("image/png"), &json!("Ảnh của tôi.PNG")));
        let path = taken["path"].as_str().unwrap();
        let directory = fs::canonicalize(tenants.server.dir()).unwrap().join("data/tenants/a/uploads/mai");
        assert!(Path::new(path).starts_with(&directory) && path.ends_with(".png"), "{path}");
        assert_eq!(fs::read(path).unwrap(), PNG);
        let url = format!("/v1/files{path}");
        assert_eq!(mai.get(&url).await.body, PNG);
        for other in [tenants.client(&tenants.a_operator, "lan"), tenants.client(&tenants.b_admin, "mai"), tenants.client(&tenants.a_viewer, "")] {
            other.get(&url).await.expect_error(404);
        }
        let log: Value = tenants.client(&tenants.a_admin, "boss").get("/v1/activity?action=media.uploaded").await.expect(200);
        assert_eq!((&log["logs"][0]["actor_id"], &log["logs"][0]["details"]["filename"]), (&json!("mai"), &json!("Ảnh của tôi.PNG")));
    }

    async fn any_extension_is_taken_and_told_by_its_type(edition) {
        let tenants = Tenants::start(edition).await;
        let mai = tenants.client(&tenants.a_operator, "mai");
        for (name, kind, extension) in [
            ("a.opus", "audio/ogg", ".opus"), ("a.mkv", "video/x-matroska", ".mkv"), ("a.exe", "application/octet-stream", ".exe"), ("a.sh", "application/x-sh", ".sh"), ("a", "application/octet-stream", ".bin"),
            ("a.unheard", "application/octet-stream", ".unheard"), ("a.tar.gz", "application/gzip", ".gz"),
        ] {
            let taken = upload(&mai, name, b"x").await.expect(200);
            assert_eq!(taken["mime_type"], kind, "{name}");
            assert!(taken["path"].as_str().unwrap().ends_with(extension), "{taken}");
        }
    }

    async fn what_is_no_upload_is_refused_and_leaves_nothing(edition) {
        let tenants = Tenants::start(edition).await;
        let mai = tenants.client(&tenants.a_operator, "mai");
        let (text, code) = upload(&mai, "big.bin", &vec![7; 51 << 20]).await.expect_error(400);
        assert_eq!((text.as_str(), code.as_str()), ("the request body is larger than 52428800 bytes", "INVALID_REQUEST"));
        for name in ["", "..", "a/"] {
            upload(&mai, name, b"x").await.expect_error(400);
        }
        let form = "multipart/form-data; boundary=b";
        for (kind, body) in [
            ("application/json", "{}"), (form, ""), (form, "--b\r\n"), (form, "--b--\r\n"), (form, "--b\r\nContent-Disposition: form-data; name=\"other\"\r\n\r\nx\r\n--b--\r\n"),
            (form, "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\ncut off"), ("multipart/form-data", "--b--\r\n"),
        ] {
            assert_eq!(mai.send("POST", "/v1/media/upload", kind, body.into()).await.expect_error(400).1, "INVALID_REQUEST", "{kind} {body}");
        }
        upload(&tenants.client(&tenants.a_viewer, "mai"), "a.png", PNG).await.expect_error(403);
        upload(&tenants.server.anonymous(), "a.png", PNG).await.expect_error(401);
        let uploads = fs::read_dir(tenants.server.dir().join("data/tenants/a/uploads/mai")).map(Iterator::count).unwrap_or_default();
        assert_eq!(uploads, 0);
        let (text, _) = upload(&mai.header("Accept-Language", "vi"), "", b"x").await.expect_error(400);
        assert_eq!(text, "tệp cần có tên dài tối đa 255 byte");
    }

    async fn a_file_of_a_message_has_an_id(edition) {
        let tenants = Tenants::start(edition).await;
        let kept = tenants.server.dir().join("workspace/tenants/a/.media/0123456789ab");
        fs::create_dir_all(&kept).unwrap();
        fs::write(kept.join("0193a5b0-0000-4000-8000-000000000001.png"), PNG).unwrap();
        let url = "/v1/media/0193a5b0-0000-4000-8000-000000000001";
        let viewer = tenants.client(&tenants.a_viewer, "mai");
        let reply = viewer.get(url).await;
        assert_eq!((reply.status, reply.body.as_slice(), reply.header("Content-Type"), reply.header("Cache-Control")), (200, PNG, "image/png", "private, max-age=86400"));
        assert_eq!(viewer.send("HEAD", url, "", vec![]).await.status, 200);
        tenants.client(&tenants.b_admin, "mai").get(url).await.expect_error(404);
        for id in ["..%2fx", "a..b", ".hidden", "a*", "0193a5b0%2F..%2F.."] {
            viewer.get(&format!("/v1/media/{id}")).await.expect_error(400);
        }
        for id in ["0193a5b0-0000-4000-8000-000000000002", "0193a5b0"] {
            viewer.get(&format!("/v1/media/{id}")).await.expect_error(404);
        }
        tenants.server.anonymous().get(url).await.expect_error(401);
    }
}
