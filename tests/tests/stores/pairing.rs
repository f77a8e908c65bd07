use chrono::{DateTime, TimeDelta, Utc};
use goclaw_ports::{
    TenantId,
    pairing::{PairedDevice, PairingRequest, PendingLimits},
};
use goclaw_tests::{TestDatabase, fixtures::at};
use std::collections::BTreeMap;
use uuid::Uuid;

const PLENTY: PendingLimits = PendingLimits { together: 100, channel: 100 };

/// A request of a browser, made at `at(0)` and void at `at(60)`.
fn request(code: &str, sender: &str) -> PairingRequest {
    PairingRequest {
        code: code.to_owned(),
        sender: sender.to_owned(),
        channel: "browser".to_owned(),
        chat_id: String::new(),
        account_id: "default".to_owned(),
        user_id: String::new(),
        counted_as: "192.0.2.1".to_owned(),
        metadata: BTreeMap::new(),
        created_at: at(0),
        expires_at: at(60),
    }
}

fn metadata() -> BTreeMap<String, String> {
    [("user_agent", "Fox/1.0 🦀"), ("", "empty key"), ("empty", ""), ("quoted", "'\"\\\n")].map(|(key, value)| (key.to_owned(), value.to_owned())).into()
}

async fn ask(db: &TestDatabase, tenant: TenantId, new: &PairingRequest) -> PairingRequest {
    db.stores.pairing.request(tenant, new, PLENTY, at(0)).await.unwrap()
}

async fn approve(db: &TestDatabase, tenant: TenantId, code: &str, now: DateTime<Utc>) -> Option<PairedDevice> {
    db.stores.pairing.approve(tenant, code, "admin", now, now + TimeDelta::seconds(1000)).await.unwrap()
}

/// Asks for this sender at `now` and lets it in at once.
async fn pair(db: &TestDatabase, tenant: TenantId, code: &str, sender: &str, now: DateTime<Utc>) -> PairedDevice {
    let new = PairingRequest { created_at: now, expires_at: now + TimeDelta::seconds(60), ..request(code, sender) };
    db.stores.pairing.request(tenant, &new, PLENTY, now).await.unwrap();
    approve(db, tenant, code, now).await.unwrap()
}

async fn pending(db: &TestDatabase, tenant: TenantId) -> Vec<PairingRequest> {
    db.stores.pairing.pending(tenant, at(1)).await.unwrap()
}

async fn codes(db: &TestDatabase, tenant: TenantId) -> Vec<String> {
    pending(db, tenant).await.into_iter().map(|request| request.code).collect()
}

async fn senders(db: &TestDatabase, tenant: TenantId, now: DateTime<Utc>) -> Vec<String> {
    db.stores.pairing.paired(tenant, now).await.unwrap().into_iter().map(|device| device.sender).collect()
}

on_both_databases! {
    async fn a_request_comes_back_as_it_was_stored(db) {
        let a = db.tenant("a").await;
        assert!(pending(&db, a).await.is_empty());
        let full = PairingRequest {
            channel: "telegram".into(),
            chat_id: "-100123".into(),
            account_id: "second bot".into(),
            user_id: "người dùng 🦀".into(),
            counted_as: "second bot".into(),
            metadata: metadata(),
            ..request("ABCD2345", "sender; drop table tenants; --")
        };
        assert_eq!(ask(&db, a, &full).await, full);
        assert_eq!(pending(&db, a).await, [full]);
    }

    async fn one_who_waits_already_gets_the_request_that_is_there(db) {
        let a = db.tenant("a").await;
        let first = PairingRequest { metadata: metadata(), user_id: "mai".into(), ..request("AAAAAAAA", "s1") };
        ask(&db, a, &first).await;
        let again = PairingRequest { created_at: at(5), expires_at: at(65), user_id: "lan".into(), ..request("BBBBBBBB", "s1") };
        let none = PendingLimits { together: 0, channel: 0 };
        for limits in [PLENTY, none] {
            assert_eq!(db.stores.pairing.request(a, &again, limits, at(5)).await.unwrap(), first);
        }
        let same_code = request("AAAAAAAA", "s1");
        assert_eq!(ask(&db, a, &same_code).await, first, "even with the code that it has");
        assert_eq!(pending(&db, a).await, [first]);
        assert_eq!(db.stores.pairing.all_tenants_of_code("BBBBBBBB", at(5)).await.unwrap(), None);

        ask(&db, a, &PairingRequest { channel: "telegram".into(), ..request("BBBBBBBB", "s1") }).await;
        assert_eq!(pending(&db, a).await.len(), 2, "in another channel it is somebody else");
    }

    async fn requests_are_listed_newest_first(db) {
        let a = db.tenant("a").await;
        for (code, made) in [("SECOND22", 20), ("THIRD333", 30), ("FIRST222", 10)] {
            ask(&db, a, &PairingRequest { created_at: at(made), expires_at: at(90), ..request(code, code) }).await;
        }
        assert_eq!(codes(&db, a).await, ["THIRD333", "SECOND22", "FIRST222"]);
    }

    async fn only_so_many_may_wait_together_and_in_a_channel(db) {
        let (a, b) = (db.tenant("a").await, db.tenant("b").await);
        let limits = PendingLimits { together: 2, channel: 3 };
        let from = |code: &str, address: &str| PairingRequest { counted_as: address.into(), ..request(code, code) };
        let refused = async |tenant, new: PairingRequest| assert_fails!(db.stores.pairing.request(tenant, &new, limits, at(1)).await, RateLimited);
        let stored = async |tenant, new: PairingRequest| assert_eq!(db.stores.pairing.request(tenant, &new, limits, at(1)).await.unwrap(), new);
        stored(a, from("AAAAAAA2", "192.0.2.1")).await;
        stored(a, from("AAAAAAA3", "192.0.2.1")).await;
        refused(a, from("AAAAAAA4", "192.0.2.1")).await;
        stored(a, from("AAAAAAA5", "192.0.2.2")).await;
        refused(a, from("AAAAAAA6", "192.0.2.3")).await;
        stored(a, PairingRequest { channel: "telegram".into(), ..from("AAAAAAA7", "192.0.2.1") }).await;
        stored(b, from("BBBBBBB2", "192.0.2.1")).await;
        assert_eq!((pending(&db, a).await.len(), pending(&db, b).await.len()), (4, 1));

        assert!(db.stores.pairing.deny(a, "AAAAAAA2", at(2)).await.unwrap().is_some());
        stored(a, from("AAAAAAA6", "192.0.2.3")).await;
        assert!(approve(&db, a, "AAAAAAA5", at(2)).await.is_some());
        stored(a, from("AAAAAAA8", "192.0.2.2")).await;
    }

    async fn what_is_void_counts_no_more(db) {
        let a = db.tenant("a").await;
        let limits = PendingLimits { together: 1, channel: 1 };
        db.stores.pairing.request(a, &request("AAAAAAAA", "s1"), limits, at(0)).await.unwrap();
        let later = PairingRequest { created_at: at(60), expires_at: at(120), ..request("BBBBBBBB", "s2") };
        assert_fails!(db.stores.pairing.request(a, &later, limits, at(59)).await, RateLimited);
        assert_eq!(db.stores.pairing.request(a, &later, limits, at(60)).await.unwrap(), later);
        let again = PairingRequest { created_at: at(120), expires_at: at(180), ..request("AAAAAAAA", "s2") };
        assert_eq!(db.stores.pairing.request(a, &again, limits, at(120)).await.unwrap(), again, "the same sender, and a code that is free again");
        assert_eq!(db.stores.pairing.pending(a, at(120)).await.unwrap(), [again]);
    }

    async fn a_code_is_taken_for_all_tenants_until_it_is_void(db) {
        let (a, b) = (db.tenant("a").await, db.tenant("b").await);
        ask(&db, a, &request("AAAAAAAA", "s1")).await;
        for tenant in [a, b] {
            assert_fails!(db.stores.pairing.request(tenant, &request("AAAAAAAA", "s2"), PLENTY, at(1)).await, AlreadyExists);
        }
        assert_eq!((pending(&db, a).await.len(), pending(&db, b).await.len()), (1, 0));
        let later = PairingRequest { created_at: at(60), expires_at: at(120), ..request("AAAAAAAA", "s2") };
        assert_eq!(db.stores.pairing.request(b, &later, PLENTY, at(60)).await.unwrap(), later);
        assert_eq!(db.stores.pairing.all_tenants_of_code("AAAAAAAA", at(60)).await.unwrap(), Some(b));
    }

    async fn a_request_needs_a_tenant_that_exists(db) {
        let unknown = TenantId(Uuid::now_v7());
        assert_fails!(db.stores.pairing.request(unknown, &request("AAAAAAAA", "s1"), PLENTY, at(0)).await, NotFound);
        assert_eq!(db.stores.pairing.all_tenants_of_code("AAAAAAAA", at(0)).await.unwrap(), None);
    }

    async fn approval_turns_a_request_into_a_device(db) {
        let a = db.tenant("a").await;
        let asked = PairingRequest { channel: "zalo".into(), chat_id: "c1".into(), user_id: "mai".into(), metadata: metadata(), ..request("AAAAAAAA", "s1") };
        ask(&db, a, &asked).await;
        ask(&db, a, &request("BBBBBBBB", "s2")).await;
        let device = db.stores.pairing.approve(a, "AAAAAAAA", "admin", at(10), at(500)).await.unwrap();
        let expected = PairedDevice {
            sender: "s1".into(),
            channel: "zalo".into(),
            chat_id: "c1".into(),
            user_id: "mai".into(),
            paired_by: "admin".into(),
            metadata: metadata(),
            paired_at: at(10),
            expires_at: at(500),
        };
        assert_eq!(device.as_ref(), Some(&expected));
        assert_eq!(codes(&db, a).await, ["BBBBBBBB"]);
        assert_eq!(db.stores.pairing.paired(a, at(10)).await.unwrap(), std::slice::from_ref(&expected));
        assert_eq!(db.stores.pairing.all_tenants_find_paired("zalo", "s1", at(10)).await.unwrap(), Some((a, expected)));
        assert!(!db.stores.pairing.all_tenants_is_pending("zalo", "s1", at(10)).await.unwrap());
        assert_eq!(approve(&db, a, "AAAAAAAA", at(10)).await, None, "a code is good once");
        for code in ["CCCCCCCC", "bbbbbbbb", "BBBBBBB", "BBBBBBB_", "%", ""] {
            assert_eq!(approve(&db, a, code, at(10)).await, None, "{code}");
        }
    }

    async fn one_of_many_approvals_lets_in(db) {
        let a = db.tenant("a").await;
        ask(&db, a, &request("AAAAAAAA", "s1")).await;
        let admins: Vec<_> = (0..8).map(|n| format!("admin-{n}")).collect();
        let approvals = admins.iter().map(|admin| db.stores.pairing.approve(a, "AAAAAAAA", admin, at(1), at(100)));
        let outcomes = futures_util::future::join_all(approvals).await;
        let devices: Vec<_> = outcomes.into_iter().filter_map(Result::unwrap).collect();
        assert_eq!(devices.len(), 1);
        assert_eq!(db.stores.pairing.paired(a, at(1)).await.unwrap(), devices);
    }

    async fn a_request_is_approved_or_denied_and_not_both(db) {
        let a = db.tenant("a").await;
        for n in 0..8 {
            let code = format!("CODE{n}");
            ask(&db, a, &request(&code, &code)).await;
            let (approved, denied) = tokio::join!(db.stores.pairing.approve(a, &code, "admin", at(1), at(100)), db.stores.pairing.deny(a, &code, at(1)));
            let (approved, denied) = (approved.unwrap().is_some(), denied.unwrap().is_some());
            assert!(approved ^ denied, "{approved} {denied}");
            assert_eq!(db.stores.pairing.all_tenants_find_paired("browser", &code, at(1)).await.unwrap().is_some(), approved);
        }
    }

    async fn many_who_ask_at_once_stay_within_the_limits(db) {
        let a = db.tenant("a").await;
        let limits = PendingLimits { together: 3, channel: 100 };
        let requests: Vec<_> = (0..12).map(|n| request(&format!("CODE{n}"), &format!("s{n}"))).collect();
        let outcomes = futures_util::future::join_all(requests.iter().map(|new| db.stores.pairing.request(a, new, limits, at(0)))).await;
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 3);
        for outcome in outcomes.into_iter().filter(Result::is_err) {
            assert_fails!(outcome, RateLimited);
        }
        assert_eq!(pending(&db, a).await.len(), 3);
    }

    async fn one_who_asks_many_times_at_once_waits_once(db) {
        let a = db.tenant("a").await;
        let requests: Vec<_> = (0..8).map(|n| request(&format!("CODE{n}"), "s1")).collect();
        let outcomes = futures_util::future::join_all(requests.iter().map(|new| db.stores.pairing.request(a, new, PLENTY, at(0)))).await;
        let stored = pending(&db, a).await;
        assert_eq!(stored.len(), 1);
        for outcome in outcomes {
            assert_eq!(outcome.unwrap(), stored[0]);
        }
    }

    async fn a_device_is_replaced_by_a_later_pairing(db) {
        let a = db.tenant("a").await;
        let first = PairingRequest { user_id: "mai".into(), metadata: metadata(), ..request("AAAAAAAA", "s1") };
        ask(&db, a, &first).await;
        approve(&db, a, "AAAAAAAA", at(1)).await.unwrap();
        let second = PairingRequest { user_id: "lan".into(), chat_id: "c2".into(), ..request("BBBBBBBB", "s1") };
        ask(&db, a, &second).await;
        let replaced = db.stores.pairing.approve(a, "BBBBBBBB", "other admin", at(5), at(50)).await.unwrap().unwrap();
        assert_eq!((replaced.user_id.as_str(), replaced.paired_by.as_str(), replaced.metadata.len()), ("lan", "other admin", 0));
        assert_eq!(db.stores.pairing.paired(a, at(5)).await.unwrap(), [replaced]);
    }

    async fn devices_are_listed_newest_first(db) {
        let a = db.tenant("a").await;
        for (sender, since) in [("second", 20), ("third", 30), ("first", 10)] {
            pair(&db, a, sender, sender, at(since)).await;
        }
        assert_eq!(senders(&db, a, at(30)).await, ["third", "second", "first"]);
    }

    async fn a_denied_request_is_gone(db) {
        let a = db.tenant("a").await;
        let asked = PairingRequest { metadata: metadata(), ..request("AAAAAAAA", "s1") };
        ask(&db, a, &asked).await;
        ask(&db, a, &request("BBBBBBBB", "s2")).await;
        assert_eq!(db.stores.pairing.deny(a, "AAAAAAAA", at(1)).await.unwrap(), Some(asked));
        assert_eq!(db.stores.pairing.deny(a, "AAAAAAAA", at(1)).await.unwrap(), None);
        assert_eq!(approve(&db, a, "AAAAAAAA", at(1)).await, None);
        assert_eq!(codes(&db, a).await, ["BBBBBBBB"]);
        assert!(senders(&db, a, at(1)).await.is_empty());
    }

    async fn a_revoked_device_is_gone(db) {
        let a = db.tenant("a").await;
        let device = pair(&db, a, "AAAAAAAA", "s1", at(0)).await;
        pair(&db, a, "BBBBBBBB", "s2", at(0)).await;
        for (channel, sender) in [("browser", "s"), ("browser", "s_"), ("browser", "%"), ("telegram", "s1"), ("%", "s1"), ("", "")] {
            assert_eq!(db.stores.pairing.revoke(a, channel, sender, at(1)).await.unwrap(), None, "{channel} {sender}");
        }
        assert_eq!(db.stores.pairing.revoke(a, "browser", "s1", at(1)).await.unwrap(), Some(device));
        assert_eq!(db.stores.pairing.revoke(a, "browser", "s1", at(1)).await.unwrap(), None);
        assert_eq!(db.stores.pairing.all_tenants_find_paired("browser", "s1", at(1)).await.unwrap(), None);
        assert_eq!(senders(&db, a, at(1)).await, ["s2"]);
    }

    async fn a_void_request_is_as_good_as_none(db) {
        let a = db.tenant("a").await;
        for (code, sender) in [("AAAAAAAA", "s1"), ("BBBBBBBB", "s2")] {
            ask(&db, a, &request(code, sender)).await;
        }
        assert_eq!(db.stores.pairing.pending(a, at(59)).await.unwrap().len(), 2);
        assert_eq!(db.stores.pairing.all_tenants_of_code("AAAAAAAA", at(59)).await.unwrap(), Some(a));
        assert!(db.stores.pairing.all_tenants_is_pending("browser", "s1", at(59)).await.unwrap());
        for now in [at(60), at(100)] {
            assert!(db.stores.pairing.pending(a, now).await.unwrap().is_empty());
            assert_eq!(db.stores.pairing.all_tenants_of_code("AAAAAAAA", now).await.unwrap(), None);
            assert!(!db.stores.pairing.all_tenants_is_pending("browser", "s1", now).await.unwrap());
        }
        assert_eq!(approve(&db, a, "AAAAAAAA", at(60)).await, None);
        assert_eq!(db.stores.pairing.deny(a, "BBBBBBBB", at(60)).await.unwrap(), None);
        assert!(senders(&db, a, at(60)).await.is_empty());
    }

    async fn a_device_whose_time_is_over_is_as_good_as_none(db) {
        let a = db.tenant("a").await;
        ask(&db, a, &request("AAAAAAAA", "s1")).await;
        db.stores.pairing.approve(a, "AAAAAAAA", "admin", at(1), at(30)).await.unwrap().unwrap();
        assert_eq!(senders(&db, a, at(29)).await, ["s1"]);
        assert!(db.stores.pairing.all_tenants_find_paired("browser", "s1", at(29)).await.unwrap().is_some());
        for now in [at(30), at(100)] {
            assert!(senders(&db, a, now).await.is_empty());
            assert_eq!(db.stores.pairing.all_tenants_find_paired("browser", "s1", now).await.unwrap(), None);
        }
        assert_eq!(db.stores.pairing.revoke(a, "browser", "s1", at(30)).await.unwrap(), None);
    }

    async fn who_is_asked_for_without_a_tenant_is_found_in_its_own(db) {
        let (a, b) = (db.tenant("a").await, db.tenant("b").await);
        ask(&db, a, &request("AAAAAAAA", "s1")).await;
        ask(&db, b, &request("BBBBBBBB", "s2")).await;
        for (code, tenant) in [("AAAAAAAA", Some(a)), ("BBBBBBBB", Some(b)), ("aaaaaaaa", None), ("AAAAAAA_", None), ("", None)] {
            assert_eq!(db.stores.pairing.all_tenants_of_code(code, at(1)).await.unwrap(), tenant, "{code}");
        }
        for (channel, sender, waits) in [("browser", "s1", true), ("browser", "s2", true), ("telegram", "s1", false), ("browser", "s%", false), ("", "", false)] {
            assert_eq!(db.stores.pairing.all_tenants_is_pending(channel, sender, at(1)).await.unwrap(), waits, "{channel} {sender}");
        }
        let (of_a, of_b) = (approve(&db, a, "AAAAAAAA", at(1)).await.unwrap(), approve(&db, b, "BBBBBBBB", at(1)).await.unwrap());
        for (sender, found) in [("s1", Some((a, of_a))), ("s2", Some((b, of_b))), ("S1", None), ("s_", None), ("", None)] {
            assert_eq!(db.stores.pairing.all_tenants_find_paired("browser", sender, at(1)).await.unwrap(), found, "{sender}");
        }
        assert_eq!(db.stores.pairing.all_tenants_find_paired("telegram", "s1", at(1)).await.unwrap(), None);
    }

    async fn requests_of_one_tenant_are_out_of_reach_of_another(db) {
        let (a, b) = (db.tenant("a").await, db.tenant("b").await);
        let of_a = request("AAAAAAAA", "s1");
        ask(&db, a, &of_a).await;
        assert!(db.stores.pairing.pending(b, at(1)).await.unwrap().is_empty());
        assert_eq!(db.stores.pairing.approve(b, "AAAAAAAA", "admin", at(1), at(9)).await.unwrap(), None);
        assert_eq!(db.stores.pairing.deny(b, "AAAAAAAA", at(1)).await.unwrap(), None);
        let of_b = request("BBBBBBBB", "s1");
        assert_eq!(ask(&db, b, &of_b).await, of_b, "the same sender may ask another tenant too");
        assert_eq!(db.stores.pairing.deny(b, "BBBBBBBB", at(1)).await.unwrap(), Some(of_b));
        assert_eq!(pending(&db, a).await, [of_a]);
    }

    async fn devices_of_one_tenant_are_out_of_reach_of_another(db) {
        let (a, b) = (db.tenant("a").await, db.tenant("b").await);
        let of_a = pair(&db, a, "AAAAAAAA", "s1", at(0)).await;
        assert!(senders(&db, b, at(1)).await.is_empty());
        assert_eq!(db.stores.pairing.revoke(b, "browser", "s1", at(1)).await.unwrap(), None);
        let of_b = pair(&db, b, "BBBBBBBB", "s1", at(5)).await;
        assert_eq!(db.stores.pairing.paired(a, at(5)).await.unwrap(), [of_a]);
        assert_eq!(db.stores.pairing.paired(b, at(5)).await.unwrap(), std::slice::from_ref(&of_b));
        assert_eq!(db.stores.pairing.revoke(b, "browser", "s1", at(6)).await.unwrap(), Some(of_b));
        assert_eq!(senders(&db, a, at(6)).await, ["s1"]);
    }
}
