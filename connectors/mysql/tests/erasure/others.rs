//! Others who hold what an erasure needs: it is undone, and planned and compared again.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdout, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use protocol::silo::Erasure;
use protocol::testing::erasure::stories::{SHOP, ada};
use protocol::testing::erasure::{Database as _, deleted, tell};

use crate::harness::Database;
use crate::server::Server;

/// Another client, whose session stays open.
struct Other {
    client: Child,
    said: BufReader<ChildStdout>,
    server: Server,
    database: String,
}

impl Other {
    fn new(database: &Database) -> Other {
        let (server, name) = (database.server.clone(), database.database.name.clone());
        let mut client = server.client(&name);
        client.arg("--unbuffered").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut client = client.spawn().unwrap();
        let said = BufReader::new(client.stdout.take().unwrap());
        Other { client, said, server, database: name }
    }

    /// Runs statements, and waits until they are done. A refusal ends the client.
    fn run(&mut self, statements: &str) {
        let stdin = self.client.stdin.as_mut().unwrap();
        stdin.write_all(format!("{statements}; SELECT 'done';\n").as_bytes()).unwrap();
        let mut line = String::new();
        while line.trim() != "done" {
            line.clear();
            assert!(self.said.read_line(&mut line).unwrap() > 0, "refused: {statements}");
        }
    }

    /// Waits until somebody waits for a lock in the database.
    fn until_somebody_waits(&self) {
        let waiting = format!(
            "SELECT count(*) FROM information_schema.INNODB_TRX t \
             JOIN information_schema.PROCESSLIST p ON p.ID = t.trx_mysql_thread_id \
             WHERE t.trx_state = 'LOCK WAIT' AND p.DB = '{}'",
            self.database
        );
        let deadline = Instant::now() + Duration::from_secs(60);
        while self.server.run("", &waiting).trim() == "0" {
            assert!(Instant::now() < deadline, "nobody waits");
            // Who asks again within a tenth of a second gets the same answer.
            thread::sleep(Duration::from_millis(150));
        }
    }

    /// Goes on in a thread of its own.
    fn then(mut self, more: impl FnOnce(&mut Other) + Send + 'static) -> JoinHandle<()> {
        thread::spawn(move || more(&mut self))
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        drop(self.client.stdin.take());
        self.client.wait().ok();
    }
}

/// An approved plan, so that what is done again is compared again.
fn approved(database: &Database) -> Erasure {
    Erasure { approved: Some(database.plan(&ada(database)).unwrap().hash), ..ada(database) }
}

fn a_deadlock() {
    let database = Database::new(&format!("{SHOP} CREATE TABLE ballast (id INTEGER PRIMARY KEY);"));
    let request = approved(&database);
    let mut other = Other::new(&database);
    // Who has changed more is not the one that is undone.
    other.run(
        "BEGIN; INSERT INTO ballast WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n \
         WHERE i < 900) SELECT i FROM n; UPDATE orders SET customer_id = customer_id WHERE id = 1",
    );
    let crossing = other.then(|other| {
        other.until_somebody_waits();
        // What the erasure has read is locked: one of the two must give way, and this one did not.
        other.run("UPDATE customer SET name = name WHERE id = 1; COMMIT");
    });
    let done = deleted(&database.erase(&request).unwrap());
    crossing.join().unwrap();
    assert_eq!((done["line"], done["orders"], done["customer"]), (3, 2, 1));
    assert_eq!(database.count("SELECT count(*) FROM line"), 1);
}

fn a_lock_for_too_long() {
    for (change, still) in [("customer_id = customer_id", true), ("customer_id = 2", false)] {
        let database = Database::new(SHOP);
        let request = approved(&database);
        let before = database.dump();
        let mut other = Other::new(&database);
        other.run(&format!("BEGIN; UPDATE orders SET {change} WHERE id = 1"));
        // For longer than `lock_timeout`, and not as long as three tries.
        let holding = other.then(|other| {
            thread::sleep(Duration::from_millis(3500));
            other.run("COMMIT");
        });
        let done = database.erase(&request);
        holding.join().unwrap();
        if still {
            assert_eq!(deleted(&done.unwrap())["line"], 3);
            assert_eq!(database.count("SELECT count(*) FROM line"), 1);
            continue;
        }
        // The order is another person's now: that is not what was approved.
        let refused = done.unwrap_err().to_string();
        assert!(refused.contains("another than the approved one"), "{refused}");
        let after = database.dump();
        assert_eq!((&after["line"], &after["customer"]), (&before["line"], &before["customer"]));
    }
}

#[test]
fn a_deadlock_undoes_everything_and_it_is_begun_anew() {
    tell::<Database>(a_deadlock, env!("CARGO_PKG_NAME"));
}

#[test]
fn a_lock_that_is_held_for_too_long_undoes_everything_and_it_is_planned_and_compared_again() {
    tell::<Database>(a_lock_for_too_long, env!("CARGO_PKG_NAME"));
}
