//! Archives as gzipped tar files. All of it is blocking work, done on threads that may block.
#![deny(missing_docs)]

#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod place;
mod reader;
mod walk;
mod writer;

use async_trait::async_trait;
use goclaw_ports::{
    Error, Result,
    archives::{ArchiveFiles, EachFile, FileProgress, MAX_ARCHIVE, PackedArchive, Packing, Placed, WorkspaceCounts},
    clock::Clock,
};
use std::{
    fs::File,
    io::{self, Read},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};
use writer::Writer;

/// Makes and reads gzipped tar files.
pub struct TarArchives {
    temporary: PathBuf,
    protected: Vec<PathBuf>,
    clock: Arc<dyn Clock>,
}

impl TarArchives {
    /// Keeps what is not finished in files without names in the directory `temporary`. Nothing below `protected` gets into an archive.
    #[must_use]
    pub fn new(temporary: PathBuf, protected: Vec<PathBuf>, clock: Arc<dyn Clock>) -> Self {
        Self { temporary, protected, clock }
    }

    fn without(&self, more: &[PathBuf]) -> Vec<PathBuf> {
        self.protected.iter().chain(more).cloned().collect()
    }
}

/// Does blocking work where it may block.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|cause| Error::internal(cause.to_string()))?
}

/// Reads a file from its start, wherever others are in it.
struct FromStart {
    file: Arc<File>,
    offset: u64,
}

impl Read for FromStart {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.offset)?;
        self.offset += read as u64;
        Ok(read)
    }
}

#[async_trait]
impl ArchiveFiles for TarArchives {
    async fn pack(&self) -> Result<Box<dyn Packing>> {
        let (temporary, protected, now) = (self.temporary.clone(), self.protected.clone(), self.clock.now());
        blocking(move || {
            let writer = Writer::new(temporary, now.timestamp().try_into().unwrap_or_default(), MAX_ARCHIVE).map_err(writer::failed)?;
            Ok(Box::new(Pack { writer: Some(writer), protected }) as Box<dyn Packing>)
        })
        .await
    }

    async fn count(&self, directory: &Path, without: &[PathBuf]) -> Result<WorkspaceCounts> {
        let (directory, without) = (directory.to_owned(), self.without(without));
        blocking(move || {
            let mut counts = WorkspaceCounts::default();
            walk::files(&directory, &without, &mut |_, _, size| {
                counts.files += 1;
                counts.bytes += size;
                Ok(())
            })?;
            Ok(counts)
        })
        .await
    }

    async fn read(&self, archive: Arc<File>, mut each: EachFile) -> Result<()> {
        blocking(move || reader::read(FromStart { file: archive, offset: 0 }, MAX_ARCHIVE, &mut *each)).await
    }

    async fn place(&self, archive: Arc<File>, prefix: &'static str, directory: &Path, mut progress: FileProgress) -> Result<Placed> {
        let directory = directory.to_owned();
        blocking(move || {
            let archive = FromStart { file: archive, offset: 0 };
            place::place(archive, MAX_ARCHIVE, prefix, &directory, &mut *progress)
        })
        .await
    }

    async fn take_back(&self, directory: &Path, placed: Placed) {
        let directory = directory.to_owned();
        let taking = blocking(move || {
            place::take_back(&directory, &placed);
            Ok(())
        });
        if let Err(error) = taking.await {
            tracing::error!(%error, "what an import put into a workspace stays there");
        }
    }
}

/// An archive that is being made.
struct Pack {
    /// Gone once something failed.
    writer: Option<Writer>,
    protected: Vec<PathBuf>,
}

impl Pack {
    async fn with<T: Send + 'static>(&mut self, work: impl FnOnce(&mut Writer) -> Result<T> + Send + 'static) -> Result<T> {
        let mut writer = self.writer.take().ok_or_else(|| Error::internal("the archive has failed before"))?;
        let (writer, done) = blocking(move || {
            let done = work(&mut writer)?;
            Ok((writer, done))
        })
        .await?;
        self.writer = Some(writer);
        Ok(done)
    }
}

#[async_trait]
impl Packing for Pack {
    async fn begin(&mut self, path: &str) -> Result<()> {
        let path = path.to_owned();
        self.with(move |writer| {
            writer.begin(path);
            Ok(())
        })
        .await
    }

    async fn write(&mut self, content: Vec<u8>) -> Result<()> {
        self.with(move |writer| writer.write(&content).map_err(writer::failed)).await
    }

    async fn end(&mut self) -> Result<()> {
        self.with(|writer| writer.end().map_err(writer::failed)).await
    }

    async fn workspace(&mut self, prefix: &str, directory: &Path, without: &[PathBuf], mut progress: FileProgress) -> Result<WorkspaceCounts> {
        let (prefix, directory) = (prefix.to_owned(), directory.to_owned());
        let without: Vec<PathBuf> = self.protected.iter().chain(without).cloned().collect();
        self.with(move |writer| {
            let mut counts = WorkspaceCounts::default();
            walk::files(&directory, &without, &mut |path, file, _| {
                counts.bytes += writer.file(format!("{prefix}{path}"), file).map_err(writer::failed)?;
                counts.files += 1;
                progress(counts.files);
                Ok(())
            })?;
            Ok(counts)
        })
        .await
    }

    async fn finish(mut self: Box<Self>) -> Result<PackedArchive> {
        let writer = self.writer.take().ok_or_else(|| Error::internal("the archive has failed before"))?;
        blocking(move || writer.finish().map_err(writer::failed)).await
    }
}
