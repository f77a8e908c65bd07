//! `write_file`.

use super::{WorkspaceFiles, refusal};
use crate::arguments::{Arguments, Refusal};
use async_trait::async_trait;
use goclaw_ports::{
    JsonObject,
    tools::{MediaResult, Tool, ToolContext, ToolEffect, ToolResult, ToolSpec},
};
use serde_json::json;

/// Creates, overwrites or extends a file.
pub struct WriteFile {
    spec: ToolSpec,
    files: WorkspaceFiles,
}

impl WriteFile {
    pub fn new(files: WorkspaceFiles) -> Self {
        let spec = ToolSpec {
            name: "write_file",
            description: "Write a file of the workspace: create it, replace what it holds, or add to its end. Missing directories are made.".into(),
            parameters: json!({
                "type": "object",
                "properties": {
                    "path": {"type": "string", "description": "File to write, relative to the workspace or absolute inside it."},
                    "content": {"type": "string", "description": "The text to write."},
                    "append": {"type": "boolean", "description": "Add to the end instead of replacing. Default false."},
                    "deliver": {"type": "boolean", "description": "Attach the file to the reply. Default true; say false for drafts and files for your own use."},
                },
                "required": ["path", "content"],
            }),
            effect: ToolEffect::Changes,
        };
        Self { spec, files }
    }

    async fn write(&self, context: &ToolContext, arguments: &Arguments) -> Result<ToolResult, Refusal> {
        let path = arguments.filled_text("path")?;
        let content = arguments.required_text("content")?;
        let append = arguments.flag("append", false)?;
        let deliver = arguments.flag("deliver", true)?;
        let _held = self.files.lock(context, &path).await;
        if let Some(written) = self.write_virtual(context, &path, &content, append).await {
            return written.map(ToolResult::silent).map_err(Refusal::new);
        }
        let bytes = content.len();
        let target = path.clone();
        let (place, size) = self
            .files
            .on_disk(context, move |root| {
                let place = if append { root.append(&target, content.as_bytes()) } else { root.replace(&target, content.as_bytes()) }?;
                let size = place.metadata().map_or(bytes as u64, |metadata| metadata.len());
                Ok((place, size))
            })
            .await
            .map_err(|error| refusal(&path, error))?;
        let verb = if append { "Appended" } else { "Wrote" };
        let mut result = ToolResult::silent(format!("{verb} {path} ({bytes} bytes)."));
        if deliver {
            result.for_llm.push_str(" The file is attached to your reply; do not send it again.");
            let content_type = mime_guess::from_path(&place).first_raw().unwrap_or("application/octet-stream").to_owned();
            result.media.push(MediaResult { path: place.to_string_lossy().into_owned(), content_type, size: Some(size), as_voice: false });
        }
        Ok(result)
    }

    async fn write_virtual(&self, context: &ToolContext, path: &str, content: &str, append: bool) -> Option<Result<String, String>> {
        let files = &self.files.virtual_files;
        if !append {
            return files.write(context, path, content).await;
        }
        match files.read(context, path).await? {
            Ok(before) => files.write(context, path, &(before + content)).await,
            // What cannot be read is not there yet, or the write says why it is refused.
            Err(_) => files.write(context, path, content).await,
        }
    }
}

#[async_trait]
impl Tool for WriteFile {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    async fn call(&self, context: &ToolContext, arguments: JsonObject) -> ToolResult {
        self.write(context, &Arguments(arguments)).await.unwrap_or_else(ToolResult::from)
    }
}
