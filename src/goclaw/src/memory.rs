//! How memory goes back to the system.

/// Blocks of this many bytes and more are pages of their own. It is above what questions and answers take, and below what their histories,
/// uploads and exports do.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const LARGE: i32 = 256 * 1024;
/// How many free bytes at the end of a heap stay for what comes next: with the 128 kB that are usual, every third run fetches a page anew.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const SPARE: i32 = 4 * 1024 * 1024;

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
