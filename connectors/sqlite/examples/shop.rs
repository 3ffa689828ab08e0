//! Makes the database of `cargo xtask demo`: a small shop, or a copy of a database of your own.
//!
//! `shop NEW_FILE` makes the shop; `shop NEW_FILE FILE` copies FILE by SQLite's backup, which gives
//! a consistent copy even while others write.

use std::path::Path;
use std::time::Duration;

use protocol::{Context, Result, bail};
use rusqlite::backup::Backup;
use rusqlite::{Connection, OpenFlags, params};

const SCHEMA: &str = "
    CREATE TABLE customers (
        id INTEGER PRIMARY KEY,
        first_name TEXT NOT NULL,
        last_name TEXT NOT NULL,
        email TEXT NOT NULL UNIQUE,
        phone TEXT,
        referred_by INTEGER REFERENCES customers(id),
        created_at DATETIME NOT NULL
    );
    CREATE TABLE staff (
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL,
        email TEXT NOT NULL
    );
    CREATE TABLE addresses (
        id INTEGER PRIMARY KEY,
        customer_id INTEGER NOT NULL REFERENCES customers(id),
        street TEXT NOT NULL,
        city TEXT NOT NULL
    );
    CREATE TABLE products (
        id INTEGER PRIMARY KEY,
        title TEXT NOT NULL,
        price NUMERIC(8, 2) NOT NULL
    );
    CREATE TABLE orders (
        id INTEGER PRIMARY KEY,
        customer_id INTEGER NOT NULL REFERENCES customers(id),
        placed_at DATETIME NOT NULL,
        paid BOOLEAN NOT NULL
    );
    CREATE INDEX orders_of_customers ON orders(customer_id);
    CREATE TABLE order_lines (
        order_id INTEGER NOT NULL REFERENCES orders(id),
        line INTEGER NOT NULL,
        product_id INTEGER NOT NULL REFERENCES products(id),
        quantity INTEGER NOT NULL,
        PRIMARY KEY (order_id, line)
    ) WITHOUT ROWID;
    CREATE TABLE \"support tickets\" (
        id INTEGER PRIMARY KEY,
        customer_id INTEGER NOT NULL REFERENCES customers(id),
        \"order\" INTEGER REFERENCES orders(id),
        body TEXT
    );
    CREATE VIEW turnover AS
        SELECT product_id, sum(quantity) AS sold FROM order_lines GROUP BY product_id;
";

const FIRST: [&str; 8] = ["Ada", "Björn", "Chloé", "Dmitri", "Elif", "Fatima", "Grace", "Håkon"];
const LAST: [&str; 7] =
    ["Lovelace", "Müller", "O'Brien", "Petrov", "Yılmaz", "Nakamura", "van der Berg"];
const CUSTOMERS: i64 = 200;

fn main() -> Result<()> {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(new), source, None) = (arguments.next(), arguments.next(), arguments.next()) else {
        bail!("usage: shop NEW_FILE [FILE]");
    };
    let mut database = Connection::open(&new)?;
    match source {
        Some(source) => copy(Path::new(&source), &mut database),
        None => fill(&mut database),
    }
}

fn copy(source: &Path, target: &mut Connection) -> Result<()> {
    let source = Connection::open_with_flags(source, OpenFlags::SQLITE_OPEN_READ_ONLY)
        .with_context(|| format!("opening {}", source.display()))?;
    Backup::new(&source, target)?
        .run_to_completion(1000, Duration::from_millis(5), None)
        .context("copying the database")
}

fn fill(database: &mut Connection) -> Result<()> {
    let work = database.transaction()?;
    work.execute_batch(SCHEMA)?;
    for (name, email) in [("Sam Clerk", "sam@shop.example"), ("Toni Help", "toni@shop.example")] {
        work.execute("INSERT INTO staff (name, email) VALUES (?1, ?2)", [name, email])?;
    }
    for id in 1..=30 {
        let title = format!("Article {id}");
        let price = f64::from(id * 395) / 100.0;
        work.execute("INSERT INTO products VALUES (?1, ?2, ?3)", params![id, title, price])?;
    }
    let mut order = 0;
    for id in 1..=CUSTOMERS {
        let first = FIRST[id as usize % FIRST.len()];
        let last = LAST[id as usize % LAST.len()];
        let email = format!("{}.{id}@example.com", if id == 1 { "ada" } else { "customer" });
        let referred = (id % 5 == 0).then_some(id / 5);
        let at = format!("2025-{:02}-{:02} 09:{:02}:00", id % 12 + 1, id % 28 + 1, id % 60);
        let first = if id == 1 { FIRST[0] } else { first };
        work.execute(
            "INSERT INTO customers VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            params![id, first, last, email, format!("+49 30 {:06}", id * 7919), referred, at],
        )?;
        work.execute(
            "INSERT INTO addresses (customer_id, street, city) VALUES (?1, ?2, ?3)",
            params![id, format!("{id} High Street"), ["Oslo", "Zürich", "Austin"][id as usize % 3]],
        )?;
        for _ in 0..=(id * 7 % 6) {
            order += 1;
            work.execute(
                "INSERT INTO orders VALUES (?1, ?2, ?3, ?4)",
                params![order, id, at, order % 9 != 0],
            )?;
            for line in 1..=order % 4 + 1 {
                work.execute(
                    "INSERT INTO order_lines VALUES (?1, ?2, ?3, ?4)",
                    params![order, line, (order + line) % 30 + 1, line],
                )?;
            }
        }
        if id % 3 == 1 {
            let body = "Where is my parcel?\nPlease answer.";
            work.execute(
                "INSERT INTO \"support tickets\" (customer_id, \"order\", body) VALUES (?1, ?2, ?3)",
                params![id, order, body],
            )?;
        }
    }
    work.commit()?;
    Ok(())
}
