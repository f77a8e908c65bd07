//! `goclaw api-keys`: keys to the running gateway's API.

use super::{agents::path_segment, client::Gateway, exit::usage, print};
use crate::config::Config;
use anyhow::Result;
use reqwest::Method;
use serde_json::{Value, json};

/// What to do with API keys.
#[derive(clap::Subcommand)]
pub enum Command {
    /// List API keys, revoked ones included
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Make an API key; it is shown once
    Create {
        /// What it is for
        #[arg(long)]
        name: String,
        /// What it may do, such as operator.read; several with commas, or by repeating
        #[arg(long = "scope", value_name = "SCOPE", required = true, value_delimiter = ',')]
        scopes: Vec<String>,
        /// How long it works: 90d, 12h, 30m, or a number of seconds [default: for ever]
        #[arg(long, value_name = "TIME", value_parser = duration)]
        expires_in: Option<u64>,
        /// The id of the tenant that it is for [default: a key of the whole installation]
        #[arg(long, value_name = "ID")]
        tenant: Option<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Make an API key useless
    Revoke {
        /// The key's id, as `api-keys list` shows it
        id: String,
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// Does it.
///
/// # Errors
/// If no gateway runs or it refuses.
pub async fn run(config: &Config, command: Command) -> Result<()> {
    let gateway = Gateway::of(config).await?;
    match command {
        Command::List { json: as_json } => {
            let keys = gateway.expect(Method::GET, "/v1/api-keys", None).await?;
            if as_json { print::json(&keys) } else { table(&keys) }
        }
        Command::Create { name, scopes, expires_in, tenant, json: as_json } => {
            let mut body = json!({"name": name, "scopes": scopes});
            if let Some(seconds) = expires_in {
                body["expires_in"] = seconds.into();
            }
            if let Some(tenant) = tenant {
                body["tenant_id"] = tenant.into();
            }
            let created = gateway.expect(Method::POST, "/v1/api-keys", Some(&body)).await?;
            if as_json {
                return print::json(&created);
            }
            eprintln!("This key is shown once; keep it now:");
            print::line(created["key"].as_str().unwrap_or_default())
        }
        Command::Revoke { id, yes, json: as_json } => {
            if id.is_empty() {
                return Err(usage("name the key's id"));
            }
            print::confirm(yes, &format!("Revoke the API key {}? Whoever uses it is shut out at once.", print::shown(&id)))?;
            gateway.expect(Method::POST, &format!("/v1/api-keys/{}/revoke", path_segment(&id)), Some(&json!({}))).await?;
            if as_json { print::json(&json!({"revoked": id})) } else { print::line(&format!("revoked {}", print::shown(&id))) }
        }
    }
}

fn table(keys: &Value) -> Result<()> {
    let text = |key: &Value, name: &str| key[name].as_str().unwrap_or_default().to_owned();
    let rows: Vec<_> = keys
        .as_array()
        .into_iter()
        .flatten()
        .map(|key| {
            let scopes: Vec<_> = key["scopes"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            let state = if key["revoked"] == true { "revoked".to_owned() } else { text(key, "expires_at") };
            [text(key, "id"), text(key, "name"), text(key, "prefix"), scopes.join(" "), state]
        })
        .collect();
    print::table(["ID", "NAME", "PREFIX", "SCOPES", "UNTIL"], &rows, "There are no API keys.")
}

/// A time as `90d`, `12h`, `30m`, `45s` or a number of seconds.
fn duration(text: &str) -> Result<u64, String> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let seconds = match unit {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(format!("{text:?} is no time; say 90d, 12h, 30m or a number of seconds")),
    };
    let number: u64 = number.parse().map_err(|_| format!("{text:?} is no time; say 90d, 12h, 30m or a number of seconds"))?;
    number
        .checked_mul(seconds)
        .filter(|seconds| (1..=3_155_760_000).contains(seconds))
        .ok_or_else(|| format!("{text:?} must be between one second and a hundred years"))
}

#[cfg(test)]
mod tests {
    use super::duration;

    #[test]
    fn times_have_units() {
        assert_eq!(["90d", "12h", "30m", "45s", "7"].map(|text| duration(text).unwrap()), [7_776_000, 43_200, 1_800, 45, 7]);
        for text in ["", "d", "-1", "0", "1w", "1.5h", "99999999999999999999", "36600d"] {
            duration(text).unwrap_err();
        }
    }
}
