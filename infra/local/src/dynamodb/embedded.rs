//! dynoxide, an emulator of DynamoDB over SQLite, on a thread of its own.
//!
//! The file is in WAL mode with `synchronous=NORMAL`. Each commit is with the operating system before it is
//! acknowledged, so a commit survives the death of the process at any moment. A power failure of the machine may
//! lose the last commits. `FULL`, the emulator's default, syncs each write and is ten times slower.
//!
//! A second connection to the file works around two gaps of the emulator. The emulator finds a stream's next
//! sequence number by a scan; an index speeds this up. The emulator never trims a stream; [`Embedded::trim`]
//! does.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use dynoxide::{Database, DynoxideError};
use tokio::net::TcpListener;

use super::caller::failed;
use crate::error::PlatformError;

const SWEEP_EVERY: Duration = Duration::from_secs(10);
/// Minimum pause between two sweeps, as a multiple of the time that the last sweep took. A sweep reads the whole
/// table, so sweeps of a large table take about a twentieth of the time.
const SWEEP_SHARE: u32 = 20;

/// Database of the emulator. Cheap to clone.
#[derive(Clone)]
pub struct Embedded {
    database: Database,
    file: PathBuf,
}

impl Embedded {
    pub fn open(file: &Path) -> Result<Self, PlatformError> {
        let doing = |doing: &'static str| move |error: DynoxideError| failed(format!("{doing}: {error}"));
        let database = Database::new(&file.to_string_lossy()).map_err(doing("open"))?;
        database
            .enable_bulk_loading()
            .and_then(|()| database.disable_bulk_loading())
            .map_err(doing("set synchronous=NORMAL"))?;
        let embedded = Self { database, file: file.to_owned() };
        embedded
            .connect()?
            .execute_batch(
                "CREATE INDEX IF NOT EXISTS groundswell_stream_order
                 ON _stream_records (table_name, CAST(sequence_number AS INTEGER))",
            )
            .map_err(failed)?;
        Ok(embedded)
    }

    /// Runs the emulator's HTTP server on a free port until the process ends, and returns its endpoint. A second
    /// thread deletes expired items at intervals, as DynamoDB does.
    pub fn serve(&self) -> Result<String, PlatformError> {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let endpoint = format!("http://{}", listener.local_addr().map_err(failed)?);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let database = self.database.clone();
        std::thread::Builder::new()
            .name("dynamodb".to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    match TcpListener::from_std(listener) {
                        Ok(listener) => dynoxide::server::serve_on(listener, database).await,
                        Err(error) => tracing::error!(cause = %error, "DynamoDB can't listen"),
                    }
                });
            })
            .map_err(failed)?;
        let database = self.database.clone();
        std::thread::Builder::new()
            .name("dynamodb-ttl".to_owned())
            .spawn(move || {
                let mut took = Duration::ZERO;
                loop {
                    std::thread::sleep(SWEEP_EVERY.max(took * SWEEP_SHARE));
                    let began = Instant::now();
                    if let Err(error) = database.sweep_ttl() {
                        tracing::warn!(cause = %error, "TTL sweep failed");
                    }
                    took = began.elapsed();
                }
            })
            .map_err(failed)?;
        Ok(endpoint)
    }

    /// Deletes a table's stream records before a sequence number that all readers have passed. The record with
    /// that number stays, because the emulator derives the next number from the last record.
    pub fn trim(&self, table: &str, before: &str) -> Result<(), PlatformError> {
        // The emulator adds 10^20 to the numbers that it shows. If that changes, no record has the number `?2`,
        // and nothing is trimmed.
        let stored: i64 = before
            .strip_prefix('1')
            .and_then(|digits| digits.parse().ok())
            .ok_or_else(|| failed(format!("a sequence number of an unknown form: {before}")))?;
        self.connect()?
            .execute(
                "DELETE FROM _stream_records
                 WHERE table_name = ?1 AND CAST(sequence_number AS INTEGER) < ?2
                   AND EXISTS (SELECT 1 FROM _stream_records
                               WHERE table_name = ?1 AND CAST(sequence_number AS INTEGER) = ?2)",
                (table, stored),
            )
            .map(drop)
            .map_err(failed)
    }

    fn connect(&self) -> Result<rusqlite::Connection, PlatformError> {
        let open = || {
            let connection = rusqlite::Connection::open(&self.file)?;
            connection.busy_timeout(Duration::from_secs(10))?;
            connection.pragma_update(None, "synchronous", "NORMAL")?;
            Ok(connection)
        };
        open().map_err(|error: rusqlite::Error| failed(error))
    }
}
