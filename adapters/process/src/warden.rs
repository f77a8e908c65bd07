//! Ends what a killed process had started.
//!
//! Nobody asks a process that is killed, so it cannot end its groups by itself. A small shell watches over them: it is told of each
//! group, and the end of its input, which nothing else holds open, is the end of whom it watches for. A group tells it of itself before
//! it becomes the program that it is to run, so that there is no moment at which it is there and nobody knows.

use nix::{
    sys::signal::{SigHandler, Signal, signal},
    unistd::Pid,
};
use std::{
    collections::BTreeSet,
    io::{self, Write},
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, RawFd},
        unix::process::CommandExt,
    },
    process::{Child, Command, Stdio},
    sync::{Mutex, PoisonError},
};

/// Any POSIX shell understands it. `+ 12` and `- 12` begin and end the watch over group 12.
const SCRIPT: &str = r#"all=
while read -r sign id; do
    case $sign in
    +) all="$all $id" ;;
    *)
        left=
        for one in $all; do [ "$one" = "$id" ] || left="$left $one"; done
        all=$left
        ;;
    esac
done
for one in $all; do kill -s KILL -- "-$one"; done"#;

static WARDEN: Mutex<Warden> = Mutex::new(Warden { shell: None, groups: BTreeSet::new() });

struct Warden {
    shell: Option<Child>,
    groups: BTreeSet<i32>,
}

/// Starts `command`, which leads a group of its own: from its first moment on it ends with this process.
pub(crate) fn spawn(command: &mut tokio::process::Command) -> io::Result<(tokio::process::Child, Option<Pid>)> {
    let mut warden = WARDEN.lock().unwrap_or_else(PoisonError::into_inner);
    warden.spawn(command)
}

/// This group has ended. Its number may be another's soon.
pub(crate) fn release(group: Pid) {
    let mut warden = WARDEN.lock().unwrap_or_else(PoisonError::into_inner);
    if warden.groups.remove(&group.as_raw()) {
        warden.tell('-', group.as_raw());
    }
}

impl Warden {
    fn spawn(&mut self, command: &mut tokio::process::Command) -> io::Result<(tokio::process::Child, Option<Pid>)> {
        if !self.shell.as_mut().is_some_and(|shell| matches!(shell.try_wait(), Ok(None))) {
            self.renew();
        }
        if let Some(input) = self.shell.as_ref().and_then(|shell| shell.stdin.as_ref()) {
            let input = input.as_raw_fd();
            #[expect(unsafe_code, reason = "what a child does between fork and exec is unsafe to ask for; this neither allocates nor locks")]
            // The shell's input stays open until the child is there: it belongs to the warden, which is borrowed.
            unsafe {
                command.pre_exec(move || announce(input));
            }
        }
        let child = command.spawn()?;
        let group = child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
        if let Some(group) = group {
            self.groups.insert(group.as_raw());
            // Once more, should the shell have gone meanwhile.
            self.tell('+', group.as_raw());
        }
        Ok((child, group))
    }

    /// Tells the shell, or a new one if that has gone. Where there is no shell, groups outlive a process that is killed, and nothing
    /// else is lost.
    fn tell(&mut self, sign: char, group: i32) {
        if self.shell.as_mut().is_some_and(|shell| write(shell, sign, group).is_ok()) {
            return;
        }
        self.renew();
    }

    /// Starts a shell that knows all groups.
    fn renew(&mut self) {
        if let Some(mut gone) = self.shell.take() {
            // It has ended, or its end is near: nothing can be said to it any more.
            let _ = gone.kill();
            let _ = gone.wait();
        }
        self.shell = start().ok();
        if let Some(shell) = &mut self.shell {
            for group in &self.groups {
                let _ = write(shell, '+', *group);
            }
        }
    }
}

/// Tells the shell at the other end of `input` of the process that calls this, a child that has not become its program yet.
fn announce(input: RawFd) -> io::Result<()> {
    let mut line = [0; 16];
    let mut rest = line.as_mut_slice();
    writeln!(rest, "+ {}", nix::unistd::getpid())?;
    let length = 16 - rest.len();
    #[expect(unsafe_code, reason = "the handlers are none of ours, and the descriptor is open: whoever started the child holds it")]
    unsafe {
        // A shell that has gone must not end the child.
        signal(Signal::SIGPIPE, SigHandler::SigIgn)?;
        let _ = nix::unistd::write(BorrowedFd::borrow_raw(input).as_fd(), &line[..length]);
        signal(Signal::SIGPIPE, SigHandler::SigDfl)?;
    }
    Ok(())
}

fn write(shell: &mut Child, sign: char, group: i32) -> io::Result<()> {
    let input = shell.stdin.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
    input.write_all(format!("{sign} {group}\n").as_bytes())
}

/// In a group of its own, which the terminal's Ctrl-C does not reach.
fn start() -> io::Result<Child> {
    Command::new("/bin/sh")
        .args(["-c", SCRIPT])
        .env_clear()
        .current_dir("/")
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::signal::{Signal, kill};
    use std::os::unix::process::ExitStatusExt;

    fn group() -> Child {
        Command::new("/bin/sh").args(["-c", "sleep 300 & sleep 300"]).process_group(0).spawn().unwrap()
    }

    fn pid(child: &Child) -> Pid {
        Pid::from_raw(i32::try_from(child.id()).unwrap())
    }

    #[test]
    fn what_is_watched_ends_with_the_watched_for_and_what_was_released_does_not() {
        let mut warden = Warden { shell: start().ok(), groups: BTreeSet::new() };
        let (mut watched, mut released) = (group(), group());
        for child in [&watched, &released] {
            warden.groups.insert(pid(child).as_raw());
            warden.tell('+', pid(child).as_raw());
        }
        warden.groups.remove(&pid(&released).as_raw());
        warden.tell('-', pid(&released).as_raw());
        let mut shell = warden.shell.take().unwrap();
        drop(shell.stdin.take());
        assert!(shell.wait().unwrap().success());
        assert_eq!(watched.wait().unwrap().signal(), Some(Signal::SIGKILL as i32));
        assert!(released.try_wait().unwrap().is_none());
        nix::sys::signal::killpg(pid(&released), Signal::SIGKILL).unwrap();
        released.wait().unwrap();
    }

    #[tokio::test]
    async fn a_group_tells_of_itself_before_anybody_else_does() {
        let mut warden = Warden { shell: start().ok(), groups: BTreeSet::new() };
        let input = warden.shell.as_ref().unwrap().stdin.as_ref().unwrap().as_raw_fd();
        let mut command = tokio::process::Command::new("/bin/sleep");
        command.arg("300").process_group(0);
        // As in `spawn`, but that the parent says nothing.
        #[expect(unsafe_code, reason = "as in `spawn`")]
        unsafe {
            command.pre_exec(move || announce(input));
        }
        let mut child = command.spawn().unwrap();
        let mut shell = warden.shell.take().unwrap();
        drop(shell.stdin.take());
        assert!(shell.wait().unwrap().success());
        assert_eq!(child.wait().await.unwrap().signal(), Some(Signal::SIGKILL as i32));
    }

    #[tokio::test]
    async fn a_group_is_started_and_watched_though_the_shell_has_gone() {
        let mut warden = Warden { shell: start().ok(), groups: BTreeSet::new() };
        kill(pid(warden.shell.as_ref().unwrap()), Signal::SIGKILL).unwrap();
        // From then on it is known to have gone.
        warden.shell.as_mut().unwrap().wait().unwrap();
        let mut command = tokio::process::Command::new("/bin/sleep");
        let (mut child, group) = warden.spawn(command.arg("300").process_group(0)).unwrap();
        assert!(group.is_some_and(|group| warden.groups.contains(&group.as_raw())));
        let mut shell = warden.shell.take().unwrap();
        drop(shell.stdin.take());
        assert!(shell.wait().unwrap().success());
        assert_eq!(child.wait().await.unwrap().signal(), Some(Signal::SIGKILL as i32));
    }

    #[test]
    fn a_shell_that_was_killed_is_followed_by_one_that_knows_all() {
        let mut warden = Warden { shell: start().ok(), groups: BTreeSet::new() };
        let mut watched = group();
        warden.groups.insert(pid(&watched).as_raw());
        warden.tell('+', pid(&watched).as_raw());
        let first = pid(warden.shell.as_ref().unwrap());
        kill(first, Signal::SIGKILL).unwrap();
        warden.shell.as_mut().unwrap().wait().unwrap();
        // `wait` closed the input.
        warden.tell('-', 1);
        let mut shell = warden.shell.take().unwrap();
        assert_ne!(pid(&shell), first);
        drop(shell.stdin.take());
        shell.wait().unwrap();
        assert_eq!(watched.wait().unwrap().signal(), Some(Signal::SIGKILL as i32));
    }
}
