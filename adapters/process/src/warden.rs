//! Ends what a killed process had started.
//!
//! Nobody asks a process that is killed, so it cannot end its groups by itself. A small shell watches over them: it is told of each
//! group, and the end of its input, which nothing else holds open, is the end of whom it watches for.

use nix::unistd::Pid;
use std::{
    collections::BTreeSet,
    io::{self, Write},
    os::unix::process::CommandExt,
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

/// From now on this group ends with this process.
pub(crate) fn watch(group: Pid) {
    let mut warden = WARDEN.lock().unwrap_or_else(PoisonError::into_inner);
    warden.groups.insert(group.as_raw());
    warden.tell('+', group.as_raw());
}

/// This group has ended. Its number may be another's soon.
pub(crate) fn release(group: Pid) {
    let mut warden = WARDEN.lock().unwrap_or_else(PoisonError::into_inner);
    if warden.groups.remove(&group.as_raw()) {
        warden.tell('-', group.as_raw());
    }
}

impl Warden {
    /// Tells the shell, or a new one if that has gone. Where there is no shell, groups outlive a process that is killed, and nothing
    /// else is lost.
    fn tell(&mut self, sign: char, group: i32) {
        if self.shell.as_mut().is_some_and(|shell| write(shell, sign, group).is_ok()) {
            return;
        }
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
