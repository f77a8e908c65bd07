//! `list_files`.

use super::WorkspaceFiles;
use crate::{
    arguments::{Arguments, Refusal},
    confine::{Entry, Kind, PathError},
};
use async_trait::async_trait;
use goclaw_ports::{
    JsonObject,
    tools::{Tool, ToolContext, ToolEffect, ToolResult, ToolSpec},
};
use serde_json::json;

/// Most entries of an answer.
const MAX_ENTRIES: usize = 1_000;

/// Lists a directory.
pub struct ListFiles {
    spec: ToolSpec,
    files: WorkspaceFiles,
}

impl ListFiles {
    pub fn new(files: WorkspaceFiles) -> Self {
        let spec = ToolSpec {
            name: "list_files",
            description: "List the files and directories in a directory of the workspace.".into(),
            parameters: json!({
                "type": "object",
                "properties": {
                    "path": {"type": "string", "description": "Directory to list, relative to the workspace or absolute inside it. Default: the workspace."},
                },
            }),
            effect: ToolEffect::Reads,
        };
        Self { spec, files }
    }

    async fn list(&self, context: &ToolContext, arguments: &Arguments) -> Result<ToolResult, Refusal> {
        let path = arguments.text("path")?.filter(|path| !path.trim().is_empty()).unwrap_or_else(|| ".".into());
        let wanted = path.clone();
        match self.files.on_disk(context, move |root| root.list(&wanted)).await {
            Ok(entries) => Ok(ToolResult::silent(lines(&entries))),
            Err(PathError::Missing) => Ok(ToolResult::silent(format!("(there is no directory {path})"))),
            Err(PathError::NotDirectory) => Err(Refusal::new(format!("{path} is a file; use read_file to read it"))),
            Err(error) => Err(Refusal::new(format!("{error}: {path}"))),
        }
    }
}

fn lines(entries: &[Entry]) -> String {
    if entries.is_empty() {
        return "(the directory is empty)".into();
    }
    let mut text = String::new();
    for entry in entries.iter().take(MAX_ENTRIES) {
        // A line break in a name must not look like another entry.
        let name = entry.name.replace(char::is_control, "?");
        text.push_str(&match entry.kind {
            Kind::Directory => format!("[DIR]  {name}/\n"),
            Kind::File(size) => format!("[FILE] {name} ({size} bytes)\n"),
        });
    }
    if entries.len() > MAX_ENTRIES {
        text.push_str(&format!("[{} of {} entries are shown; list a directory below, or use exec with find]\n", MAX_ENTRIES, entries.len()));
    }
    text.truncate(text.trim_end().len());
    text
}

#[async_trait]
impl Tool for ListFiles {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    async fn call(&self, context: &ToolContext, arguments: JsonObject) -> ToolResult {
        self.list(context, &Arguments(arguments)).await.unwrap_or_else(ToolResult::from)
    }
}
