//! What the machine lets programs do.

use std::path::Path;

/// The machine that programs stand on. The same rules hold as for the built-in tools. Failures are texts for the program.
pub trait Ground: Send + Sync {
    /// The bytes of a file inside `root`; an absolute path must lie there. Blocks.
    ///
    /// # Errors
    /// Why the file cannot be read.
    fn read(&self, root: &Path, path: &str) -> Result<Vec<u8>, String>;

    /// Makes `content` the whole file inside `root`; directories that lack are made. Blocks.
    ///
    /// # Errors
    /// Why the file cannot be written.
    fn write(&self, root: &Path, path: &str, content: &[u8]) -> Result<(), String>;

    /// The path of a directory inside `root`, without links. Blocks.
    ///
    /// # Errors
    /// Why it cannot be entered.
    fn directory(&self, root: &Path, path: &str) -> Result<std::path::PathBuf, String>;

    /// Whether a command line may run for a program that works in `root`.
    ///
    /// # Errors
    /// Why not.
    fn permit(&self, root: &Path, command: &str) -> Result<(), String>;

    /// The command line of the hook that Claude's command line asks before it uses a tool in `root`; `None` to ask nobody.
    fn hook(&self, root: &Path) -> Option<String>;
}
