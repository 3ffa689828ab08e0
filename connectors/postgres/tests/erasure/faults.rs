//! What ends at the server's will: a backend that is terminated.

use protocol::testing::erasure::stories::{SHOP, ada};
use protocol::testing::erasure::{Database as _, deleted};

use crate::harness::Database;

#[test]
fn a_backend_that_is_terminated_is_begun_anew() {
    if !Database::available() {
        return;
    }
    let database = Database::new(SHOP);
    database.run(
        "CREATE SEQUENCE tries;
         CREATE FUNCTION ends() RETURNS trigger LANGUAGE plpgsql AS
             'BEGIN
                  IF nextval(''public.tries'') = 1 THEN
                      PERFORM pg_terminate_backend(pg_backend_pid());
                  END IF;
                  RETURN old;
              END';
         CREATE TRIGGER ends BEFORE DELETE ON orders FOR EACH ROW EXECUTE FUNCTION ends();",
    );
    let done = deleted(&database.erase(&ada(&database)).unwrap());
    assert_eq!((done["line"], done["orders"], done["customer"]), (3, 2, 1));
}
