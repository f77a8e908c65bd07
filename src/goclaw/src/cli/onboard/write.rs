//! Writing the configuration file.

use anyhow::{Context, Result, bail};
use goclaw_core::presets::Preset;
use serde_json::{Value, json};
use std::{
    fs::{self, DirBuilder, OpenOptions},
    io::{ErrorKind, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

/// Makes the file name this provider and model as the default, and the base URL if it is not the usual one. Everything else in
/// the file stays, but comments do not survive: the file before is kept as `….bak`. No secret is written.
///
/// # Errors
/// If the file is malformed or cannot be written.
pub fn save(path: &Path, preset: &Preset, api_base: &str, model: &str) -> Result<()> {
    let before = match fs::read_to_string(path) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    let mut file: Value = match before.as_deref().map(str::trim) {
        None | Some("") => json!({}),
        Some(text) => json5::from_str(text).with_context(|| format!("{} is malformed", path.display()))?,
    };
    let defaults = object(object(object(&mut file)?.entry("agents").or_insert(json!({})))?.entry("defaults").or_insert(json!({})))?;
    defaults.insert("provider".into(), preset.name.into());
    defaults.insert("model".into(), model.into());
    let base_key = if preset.provider_type == "ollama" { "host" } else { "api_base" };
    // Ollama counts as configured only when its host is named, for it has no key.
    let base = if api_base.is_empty() && preset.provider_type == "ollama" { preset.api_base } else { api_base };
    if !base.is_empty() {
        let providers = object(object(&mut file)?.entry("providers").or_insert(json!({})))?;
        object(providers.entry(preset.config_key).or_insert(json!({})))?.insert(base_key.into(), base.into());
    }

    let text = serde_json::to_string_pretty(&file)?;
    if let Some(before) = before {
        replace(&beside(path, ".bak"), &before)?;
    } else if let Some(directory) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o755).create(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    }
    replace(path, &(text + "\n"))
}

/// The file of this name with `ending` added.
fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

fn object(value: &mut Value) -> Result<&mut serde_json::Map<String, Value>> {
    match value {
        Value::Object(object) => Ok(object),
        other => bail!("the configuration file has {other} where an object belongs"),
    }
}

/// Puts a new file (0600) in the place of the old one, so that there always is a whole one.
fn replace(path: &Path, text: &str) -> Result<()> {
    let temporary = beside(path, &format!(".{}.new", std::process::id()));
    let write = || {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use goclaw_core::presets::preset;
    use std::os::unix::fs::PermissionsExt;

    fn saved(before: Option<&str>, provider_type: &str, api_base: &str) -> (Value, u32, bool) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("etc/config.json");
        if let Some(before) = before {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, before).unwrap();
        }
        save(&path, preset(provider_type).unwrap(), api_base, "a-model").unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        let backup = path.with_file_name("config.json.bak").exists();
        (serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap(), mode, backup)
    }

    #[test]
    fn a_new_file_is_private_and_holds_the_defaults() {
        let (file, mode, backup) = saved(None, "anthropic_native", "");
        assert_eq!(file, json!({"agents": {"defaults": {"provider": "anthropic", "model": "a-model"}}}));
        assert_eq!((mode, backup), (0o600, false));
    }

    #[test]
    fn what_else_is_in_the_file_stays() {
        let (file, mode, backup) = saved(Some("{ mine: [1], agents: { defaults: { max_tokens: 5, model: 'old' } } } // x"), "groq", "http://127.0.0.1:1/v1");
        assert_eq!(
            file,
            json!({
                "mine": [1],
                "agents": {"defaults": {"max_tokens": 5, "model": "a-model", "provider": "groq"}},
                "providers": {"groq": {"api_base": "http://127.0.0.1:1/v1"}},
            })
        );
        assert_eq!((mode, backup), (0o600, true));
    }

    #[test]
    fn ollama_is_named_by_its_host() {
        assert_eq!(saved(None, "ollama", "").0["providers"], json!({"ollama": {"host": "http://localhost:11434/v1"}}));
    }
}
