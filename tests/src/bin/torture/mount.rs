//! A small disk.

use std::{
    fs::{self, File},
    io::Write,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::Command,
};

/// A file system in memory. It goes with this.
pub struct SmallDisk {
    path: PathBuf,
}

impl SmallDisk {
    /// Mounts one of `megabytes` at `path`, which is made.
    ///
    /// # Errors
    /// Why there can be none here.
    pub fn mount(path: &Path, megabytes: usize) -> Result<Self, String> {
        if !is_root() {
            return Err("only root may mount a small disk".to_owned());
        }
        fs::create_dir_all(path).map_err(|error| error.to_string())?;
        run(&["mount", "-t", "tmpfs", "-o", &format!("size={megabytes}m,mode=0700"), "tmpfs", &path.to_string_lossy()])?;
        Ok(Self { path: path.to_owned() })
    }

    /// Fills it to the last byte.
    pub fn fill(&self) {
        let mut filler = File::options().create(true).append(true).open(self.filler()).expect("a file that fills the disk");
        for size in [1 << 20, 1 << 12, 1] {
            let block = vec![7; size];
            while filler.write_all(&block).is_ok() {}
        }
    }

    /// Makes room again.
    pub fn free(&self) {
        fs::remove_file(self.filler()).expect("the file that fills the disk goes");
    }

    /// Lets nobody write, or everybody again.
    ///
    /// # Errors
    /// If somebody has a file open for writing.
    pub fn set_read_only(&self, read_only: bool) -> Result<(), String> {
        run(&["mount", "-o", if read_only { "remount,ro" } else { "remount,rw" }, &self.path.to_string_lossy()])
    }

    fn filler(&self) -> PathBuf {
        self.path.join("filler")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: the gateway may still have files open.
        if let Err(error) = run(&["umount", "-l", &self.path.to_string_lossy()]) {
            eprintln!("torture: {error}");
        }
    }
}

/// Whether this program may do what only root may.
pub fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

fn run(command: &[&str]) -> Result<(), String> {
    let output = Command::new(command[0]).args(&command[1..]).output().map_err(|error| format!("{}: {error}", command[0]))?;
    if output.status.success() { Ok(()) } else { Err(format!("{}: {}", command[0], String::from_utf8_lossy(&output.stderr).trim())) }
}
