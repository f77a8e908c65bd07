//! How memory goes back to the system.

use std::time::Duration;
use tokio::{task::spawn_blocking, time::sleep};

/// Blocks of this many bytes and more are pages of their own. It is above what questions and answers take, and below what their histories,
/// uploads and exports do.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const LARGE: i32 = 256 * 1024;
/// How many free bytes at the end of a heap stay for what comes next: with the 128 kB that are usual, every third run fetches a page anew.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const SPARE: i32 = 4 * 1024 * 1024;
/// How often free memory is given back: what is needed again within that costs no new pages.
const EVERY: Duration = Duration::from_mins(1);

/// Has the system get large blocks back as soon as they are freed. By itself, glibc learns from each that is freed that such are common,
/// up to 32 MB, and from then on keeps them among the small ones: after a few long answers a gateway held four times the memory for good.
pub(crate) fn give_large_blocks_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[expect(unsafe_code, reason = "a function of C that sets a number, before there are other threads")]
    // It refuses sizes only that are larger than half a heap.
    unsafe {
        nix::libc::mallopt(nix::libc::M_MMAP_THRESHOLD, LARGE);
        nix::libc::mallopt(nix::libc::M_TRIM_THRESHOLD, SPARE);
    }
}

/// Gives back what is free between blocks that are not, again and again. By itself, glibc returns only what is free at the end of a heap:
/// after an hour with 100,000 runs was added up in small blocks, a gateway kept 22 MB because of a few that stayed behind them.
pub(crate) async fn give_free_memory_back() {
    loop {
        sleep(EVERY).await;
        // Takes each heap's lock for about a millisecond.
        drop(spawn_blocking(trim).await);
    }
}

fn trim() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[expect(unsafe_code, reason = "a function of C without a condition")]
    unsafe {
        nix::libc::malloc_trim(0);
    }
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[cfg(test)]
mod tests {
    use super::*;

    /// What the process has of the machine's memory, in bytes.
    fn resident() -> usize {
        let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
        pages.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 4096
    }

    #[test]
    fn free_memory_between_blocks_in_use_goes_back() {
        let mut blocks: Vec<_> = (0..64 * 1024).map(|_| vec![1_u8; 1024]).collect();
        let mut number = 0;
        blocks.retain(|_| {
            number += 1;
            number % 64 == 0
        });
        let before = resident();
        trim();
        assert!(before.saturating_sub(resident()) > 32 << 20, "of {before} bytes {} are left", resident());
        assert_eq!(blocks.len(), 1024);
    }
}
