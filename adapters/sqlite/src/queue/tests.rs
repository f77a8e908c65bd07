use super::*;
use crate::connection::{Log, open_reader, open_writer};
use goclaw_ports::ErrorKind;
use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc as std_mpsc,
    },
    thread,
};

struct Place {
    directory: tempfile::TempDir,
    writer: Connection,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let writer = open_writer(&directory.path().join("test.db")).unwrap();
        writer.execute_batch("create table notes (text text not null unique) strict").unwrap();
        Self { directory, writer }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("test.db")
    }

    fn notes(&self) -> Vec<String> {
        notes(&self.path())
    }

    fn count_commits(&mut self) -> Arc<AtomicUsize> {
        let commits = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&commits);
        self.writer
            .commit_hook(Some(move || {
                counter.fetch_add(1, Ordering::SeqCst);
                false
            }))
            .unwrap();
        commits
    }
}

/// What another connection sees.
fn notes(path: &Path) -> Vec<String> {
    let connection = open_reader(path).unwrap();
    let mut statement = connection.prepare("select text from notes order by rowid").unwrap();
    statement.query_map([], |row| row.get(0)).unwrap().collect::<rusqlite::Result<_>>().unwrap()
}

fn note(connection: &Connection, text: &str) -> Result<(), Failure> {
    connection.execute("insert into notes (text) values (?1)", [text])?;
    Ok(())
}

fn job<T: Send + 'static>(work: impl FnOnce(&Connection) -> Result<T, Failure> + Send + 'static) -> (Box<dyn Job>, oneshot::Receiver<Result<T>>) {
    let (reply, outcome) = oneshot::channel();
    (Box::new(Call { work: Some(work), relaxed: false, outcome: None, reply }), outcome)
}

/// Writes a note and looks, when it is answered, at what another connection sees.
struct Witness {
    path: PathBuf,
    text: &'static str,
    seen: std_mpsc::Sender<Vec<String>>,
}

impl Job for Witness {
    fn run(&mut self, connection: &Connection) -> bool {
        note(connection, self.text).is_ok()
    }
    fn answer(self: Box<Self>, lost: Option<Error>) {
        assert!(lost.is_none());
        self.seen.send(notes(&self.path)).unwrap();
    }
    fn is_abandoned(&self) -> bool {
        false
    }
    fn is_relaxed(&self) -> bool {
        false
    }
}

#[test]
fn every_answer_of_a_batch_comes_after_its_one_commit() {
    let mut place = Place::new();
    let commits = place.count_commits();
    let (seen, answers) = std_mpsc::channel();
    let mut batch: VecDeque<Box<dyn Job>> =
        ["a", "b", "c"].into_iter().map(|text| Box::new(Witness { path: place.path(), text, seen: seen.clone() }) as Box<dyn Job>).collect();
    commit(&place.writer, &mut batch);
    drop(seen);
    assert_eq!(answers.iter().collect::<Vec<_>>(), vec![vec!["a", "b", "c"]; 3]);
    assert_eq!(commits.load(Ordering::SeqCst), 1);
}

#[test]
fn a_commit_waits_for_the_disk_unless_all_that_it_has_is_relaxed() {
    let place = Place::new();
    let waits = |connection: &Connection| Ok(connection.query_row("pragma synchronous", [], |row| row.get::<_, i64>(0))? == 2);
    for kinds in [&[false] as &[bool], &[true], &[true, true], &[true, false], &[false, true]] {
        let (mut batch, mut answers) = (VecDeque::new(), vec![]);
        for relaxed in kinds {
            let (reply, answer) = oneshot::channel();
            batch.push_back(Box::new(Call { work: Some(waits), relaxed: *relaxed, outcome: None, reply }) as Box<dyn Job>);
            answers.push(answer);
        }
        commit(&place.writer, &mut batch);
        for mut answer in answers {
            assert_eq!(answer.try_recv().unwrap().unwrap(), kinds.contains(&false), "{kinds:?}");
        }
    }
}

#[test]
fn the_log_of_an_open_database_can_be_synced_again_and_again() {
    let place = Place::new();
    let mut log = Log::of(&place.path());
    log.try_sync().unwrap();
    log.try_sync().unwrap();
    assert!(Log::of(&place.directory.path().join("other.db")).try_sync().is_err());
    note(&place.writer, "kept").unwrap();
    assert_eq!(place.notes(), ["kept"], "the locks are there yet");
}

#[test]
fn a_failing_job_is_undone_and_its_neighbours_are_kept() {
    let place = Place::new();
    let (first, mut first_answer) = job(|connection| note(connection, "first"));
    let (failing, mut failing_answer) = job(|connection| {
        note(connection, "half")?;
        note(connection, "first")
    });
    let (last, mut last_answer) = job(|connection| note(connection, "last"));
    commit(&place.writer, &mut VecDeque::from([first, failing, last]));
    assert!(first_answer.try_recv().unwrap().is_ok());
    assert_eq!(failing_answer.try_recv().unwrap().unwrap_err().kind, ErrorKind::AlreadyExists);
    assert!(last_answer.try_recv().unwrap().is_ok());
    assert_eq!(place.notes(), ["first", "last"]);
}

#[test]
fn a_panicking_job_is_undone_and_its_neighbours_are_kept() {
    let place = Place::new();
    let (first, mut first_answer) = job(|connection| note(connection, "first"));
    let (panicking, mut panicking_answer) = job::<()>(|connection| {
        note(connection, "half")?;
        panic!("out of luck");
    });
    let (last, mut last_answer) = job(|connection| note(connection, "last"));
    commit(&place.writer, &mut VecDeque::from([first, panicking, last]));
    assert!(first_answer.try_recv().unwrap().is_ok());
    let error = panicking_answer.try_recv().unwrap().unwrap_err();
    assert_eq!(error.kind, ErrorKind::Internal);
    assert!(error.cause.unwrap().to_string().contains("out of luck"));
    assert!(last_answer.try_recv().unwrap().is_ok());
    assert_eq!(place.notes(), ["first", "last"]);
}

#[test]
fn jobs_whose_transaction_is_lost_are_told_and_later_ones_are_kept() {
    let place = Place::new();
    let (lost, mut lost_answer) = job(|connection| note(connection, "lost"));
    // As SQLite does by itself when the disk is full.
    let (fatal, mut fatal_answer) = job(|connection| Ok(connection.execute_batch("rollback")?));
    let (kept, mut kept_answer) = job(|connection| note(connection, "kept"));
    commit(&place.writer, &mut VecDeque::from([lost, fatal, kept]));
    assert_eq!(lost_answer.try_recv().unwrap().unwrap_err().kind, ErrorKind::Internal);
    assert_eq!(fatal_answer.try_recv().unwrap().unwrap_err().kind, ErrorKind::Internal);
    assert!(kept_answer.try_recv().unwrap().is_ok());
    assert_eq!(place.notes(), ["kept"]);
}

#[test]
fn a_file_that_another_program_locks_is_unavailable_until_it_lets_go() {
    let place = Place::new();
    place.writer.busy_timeout(Duration::ZERO).unwrap();
    let other = Connection::open(place.path()).unwrap();
    other.execute_batch("begin immediate").unwrap();
    let (refused, mut refused_answer) = job(|connection| note(connection, "refused"));
    commit(&place.writer, &mut VecDeque::from([refused]));
    assert_eq!(refused_answer.try_recv().unwrap().unwrap_err().kind, ErrorKind::Unavailable);
    other.execute_batch("rollback").unwrap();
    let (kept, mut kept_answer) = job(|connection| note(connection, "kept"));
    commit(&place.writer, &mut VecDeque::from([kept]));
    assert!(kept_answer.try_recv().unwrap().is_ok());
    assert_eq!(place.notes(), ["kept"]);
}

#[tokio::test]
async fn what_waits_for_the_writer_is_committed_together_and_closing_waits_for_it() {
    let mut place = Place::new();
    let commits = place.count_commits();
    let path = place.path();
    let (queue, orders) = Queue::new();
    let writer = thread::spawn(move || {
        write(&place.writer, Log::of(&place.path()), orders);
        place
    });

    let (started, has_started) = oneshot::channel();
    let (release, released) = std_mpsc::channel::<()>();
    let (blocking, _blocking_answer) = job(move |connection| {
        note(connection, "blocking")?;
        started.send(()).unwrap();
        released.recv().unwrap();
        Ok(())
    });
    queue.send(Order::Run(blocking)).await.unwrap();
    has_started.await.unwrap();
    let mut answers = Vec::new();
    for n in 0..100 {
        let (waiting, answer) = job(move |connection| note(connection, &format!("waiting {n}")));
        queue.send(Order::Run(waiting)).await.unwrap();
        answers.push(answer);
    }
    queue.close().await;
    release.send(()).unwrap();

    for answer in answers {
        answer.await.unwrap().unwrap();
    }
    assert_eq!(notes(&path).len(), 101);
    assert_eq!(commits.load(Ordering::SeqCst), 2);
    let _place = writer.join().unwrap();
    let late = queue.call(false, |connection| note(connection, "late")).await;
    assert_eq!(late.unwrap_err().kind, ErrorKind::Unavailable);
}

#[tokio::test]
async fn all_reading_threads_end_when_their_queue_is_closed() {
    let place = Place::new();
    for _ in 0..50 {
        let (queue, orders) = Queue::new();
        let orders = Arc::new(Mutex::new(orders));
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let (reader, orders) = (open_reader(&place.path()).unwrap(), Arc::clone(&orders));
                thread::spawn(move || read(&reader, &orders))
            })
            .collect();
        queue.close().await;
        for thread in threads {
            thread.join().unwrap();
        }
    }
}

#[tokio::test]
async fn a_reading_thread_survives_a_panic_and_cannot_write() {
    let place = Place::new();
    let reader = open_reader(&place.path()).unwrap();
    let (queue, orders) = Queue::new();
    let thread = thread::spawn(move || read(&reader, &Mutex::new(orders)));
    let panicked = queue.call::<(), _>(false, |_| panic!("out of luck")).await;
    assert_eq!(panicked.unwrap_err().kind, ErrorKind::Internal);
    assert_eq!(queue.call(false, |connection| note(connection, "forbidden")).await.unwrap_err().kind, ErrorKind::Unavailable);
    assert_eq!(queue.call(false, |connection| Ok(connection.query_row("select 42", [], |row| row.get::<_, i64>(0))?)).await.unwrap(), 42);
    queue.close().await;
    thread.join().unwrap();
    assert!(place.notes().is_empty());
}
