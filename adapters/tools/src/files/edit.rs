//! `edit`.

use super::{MAX_FILE, WorkspaceFiles, refusal};
use crate::{
    arguments::{Arguments, Refusal},
    confine::Access,
};
use async_trait::async_trait;
use goclaw_ports::{
    JsonObject,
    tools::{Tool, ToolContext, ToolEffect, ToolResult, ToolSpec},
};
use serde_json::json;

/// Replaces exact text in a file.
pub struct Edit {
    spec: ToolSpec,
    files: WorkspaceFiles,
}

impl Edit {
    pub fn new(files: WorkspaceFiles) -> Self {
        let spec = ToolSpec {
            name: "edit",
            description: "Replace exact text in a file of the workspace. The text must occur once, unless all occurrences are meant.".into(),
            parameters: json!({
                "type": "object",
                "properties": {
                    "path": {"type": "string", "description": "File to change, relative to the workspace or absolute inside it."},
                    "old_string": {"type": "string", "description": "The text to find, exactly as it stands in the file, blanks and line ends included."},
                    "new_string": {"type": "string", "description": "The text to put in its place."},
                    "replace_all": {"type": "boolean", "description": "Replace every occurrence. Default false."},
                },
                "required": ["path", "old_string", "new_string"],
            }),
            effect: ToolEffect::Changes,
        };
        Self { spec, files }
    }

    async fn edit(&self, context: &ToolContext, arguments: &Arguments) -> Result<ToolResult, Refusal> {
        let path = arguments.filled_text("path")?;
        let old = arguments.required_text("old_string")?;
        let new = arguments.required_text("new_string")?;
        let all = arguments.flag("replace_all", false)?;
        if old.is_empty() {
            return Err(Refusal::new("old_string is required; to create a file use write_file"));
        }
        if old == new {
            return Err(Refusal::new("old_string and new_string are identical: there is nothing to change"));
        }
        let _held = self.files.lock(context, &path).await;
        if let Some(read) = self.files.virtual_files.read(context, &path).await {
            let (text, count) = replaced(&path, &read.map_err(Refusal::new)?, &old, &new, all)?;
            let written = self.files.virtual_files.write(context, &path, &text).await;
            return match written {
                Some(Ok(said)) => Ok(ToolResult::silent(format!("{} {said}", done(&path, count)))),
                Some(Err(said)) => Err(Refusal::new(said)),
                None => Err(Refusal::new(format!("{path} cannot be changed"))),
            };
        }
        let target = path.clone();
        let edited = self.files.on_disk(context, move |root| {
            let bytes = root.read(&target, Access::Change, MAX_FILE)?;
            let Ok(text) = String::from_utf8(bytes) else {
                return Ok(Err(Refusal::new(format!("{target} is not a UTF-8 text file and cannot be edited"))));
            };
            Ok(match replaced(&target, &text, &old, &new, all) {
                Ok((text, count)) => root.replace(&target, text.as_bytes()).map(|_| Ok(count))?,
                Err(refused) => Err(refused),
            })
        });
        let count = edited.await.map_err(|error| refusal(&path, error))??;
        Ok(ToolResult::silent(done(&path, count)))
    }
}

fn done(path: &str, count: usize) -> String {
    format!("Edited {path}: {count} replacement{}.", if count == 1 { "" } else { "s" })
}

/// `text` with `old` replaced, and how often.
fn replaced(path: &str, text: &str, old: &str, new: &str, all: bool) -> Result<(String, usize), Refusal> {
    match text.matches(old).count() {
        0 => Err(Refusal::new(format!("old_string not found in {path}; read the file and copy the text exactly"))),
        1 => Ok((text.replacen(old, new, 1), 1)),
        count if all => Ok((text.replace(old, new), count)),
        count => Err(Refusal::new(format!("old_string occurs {count} times in {path}; add more of the text around it, or set replace_all"))),
    }
}

#[async_trait]
impl Tool for Edit {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    async fn call(&self, context: &ToolContext, arguments: JsonObject) -> ToolResult {
        self.edit(context, &Arguments(arguments)).await.unwrap_or_else(ToolResult::from)
    }
}
