//! One import, from the arrival of its file to its end.
//!
//! A worker reads the file twice:
//!
//! 1. Validation loads nothing. The worker recognises the format of the file, counts the rows and reports the rows
//!    that can't be loaded.
//! 2. Loading adds the valid rows. After every [`ROWS_BETWEEN_CHECKPOINTS`] rows, the worker writes a checkpoint with
//!    its position in the file, and a part of the report with the duplicates.
//!
//! A worker that takes over an interrupted import continues at the last checkpoint. Rows that were loaded after that
//! checkpoint are recognised as this import's own rows and don't count as duplicates. If two workers process the same
//! import, the checkpoint of the slower worker fails on the import's revision, and that worker stops.

use std::collections::HashSet;

use bytes::Bytes;
use codes::{
    CODES_AT_ONCE, Duplicate, Loaded, NewCode, claims,
    code_pool::{Closed, CodePool, Lots},
    entities::{Import, ImportStatus, Progress},
    imports,
};
use domain::secret::SigningKey;
use files::{
    FilesError,
    csv::{self, Content, Delimiter, Position, Record, Records, Remark, Report},
};
use futures_util::future::try_join_all;
use jiff::Timestamp;
use table::{CommitError, TableError};

use crate::{
    ImportError, Importer,
    rows::{Columns, FirstRow, PassedOver, Row},
};

/// Maximum number of rows of a file.
const MAX_ROWS: u64 = 100_000;
/// Maximum number of repetitions of the header. Each repetition adds a line to the report.
const MAX_HEADERS: u64 = 1000;
/// Maximum size of a file: 64 MiB, in bytes.
const MAX_BYTES: u64 = 64 * 1024 * 1024;
/// Number of valid rows between two checkpoints.
const ROWS_BETWEEN_CHECKPOINTS: usize = 1000;
/// Number of transactions in flight. More transactions would only wait for each other in a partition of the table.
const IN_FLIGHT: usize = 8;

/// Reason why a file can't be loaded, with the line of the file that shows it (0 for the file as a whole).
struct Unfit {
    line: u64,
    reason: String,
}

/// Result of the validation of a file.
struct Validated {
    columns: Columns,
    delimiter: Delimiter,
    /// Position of the first row.
    start: Position,
    rows: u64,
    rejected: u64,
}

/// Reason why this worker stops processing an import.
enum Halt {
    /// Another worker processes the import, or the pool or its account no longer exists. Nothing is left to do here.
    Superseded,
    Failed(ImportError),
}

impl<E: Into<ImportError>> From<E> for Halt {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// Reason why a file was not read to its end.
enum Unread {
    Unfit(Unfit),
    Failed(ImportError),
}

impl<E: Into<ImportError>> From<E> for Unread {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

fn unfit<T>(line: u64, reason: impl Into<String>) -> Result<T, Unread> {
    Err(Unread::Unfit(Unfit { line, reason: reason.into() }))
}

impl Importer {
    /// Processes an import from its current state until it is finished.
    pub(crate) async fn run(
        &self,
        pool: &CodePool,
        mut import: Import,
        etag: &str,
    ) -> Result<(), ImportError> {
        while !import.is_finished() {
            let next = match import.status {
                ImportStatus::AwaitingUpload => {
                    let now = Timestamp::now();
                    let begun = Import {
                        status: ImportStatus::Validating,
                        etag: Some(etag.to_owned()),
                        started_at: Some(now),
                        ..import.clone()
                    };
                    self.save(begun).await
                }
                ImportStatus::Validating => self.validate(pool, import).await,
                _ => self.load(pool, import).await,
            };
            match next {
                Ok(next) => import = next,
                Err(Halt::Superseded) => return Ok(()),
                Err(Halt::Failed(error)) => return Err(error),
            }
        }
        Ok(())
    }

    /// Writes a part of the report: the duplicates of one batch. If the worker stops before the checkpoint, the batch
    /// is loaded again with the same outcome, and the part is overwritten.
    async fn report_duplicates(
        &self,
        import: &Import,
        part: u32,
        duplicates: &[Duplicate],
    ) -> Result<(), ImportError> {
        let mut report = Report::default();
        for Duplicate { line, first } in duplicates {
            let reason = match first {
                Some(first) => format!("is a duplicate of line {first}"),
                None => "is a duplicate: the pool already has the code, or once had it".to_owned(),
            };
            report.add(*line, &Remark::new("code", reason))?;
        }
        if let Some(csv) = report.finish()? {
            self.bucket.write(&part_of_report(import, part), csv).await?;
        }
        Ok(())
    }

    /// Merges the report of the validation and all parts with duplicates into one report. Returns the key of the
    /// report, if there is anything to report.
    async fn whole_report(&self, import: &Import, parts: u32) -> Result<Option<String>, ImportError> {
        if parts == 0 {
            return Ok(import.report.clone());
        }
        let keys = import.report.iter().cloned().chain((0..parts).map(|part| part_of_report(import, part)));
        let reports = try_join_all(keys.map(async |key| self.bucket.read_all(&key).await)).await?;
        let key = format!("reports/{}/{}/all.csv", import.pool_id, import.id);
        if let Some(csv) = Report::merged(&reports)?.finish()? {
            self.bucket.write(&key, csv).await?;
        }
        Ok(Some(key))
    }

    async fn save(&self, import: Import) -> Result<Import, Halt> {
        let rev = import.rev;
        let import = Import { rev: rev + 1, checked_at: Some(Timestamp::now()), ..import };
        noted(imports::update(&self.table, &import, rev).await, import)
    }

    async fn validate(&self, pool: &CodePool, import: Import) -> Result<Import, Halt> {
        let mut report = Report::default();
        let outcome = match pool.closed(Timestamp::now()) {
            Some(Closed::Completed) => unfit(0, "the code pool has ended"),
            _ => self.read_through(pool, &import, &mut report).await,
        };
        let next = match outcome {
            Ok(Validated { columns, delimiter, start, rows, rejected }) => Import {
                status: ImportStatus::Loading,
                columns: Some(columns.names().to_vec()),
                delimiter: delimiter.into(),
                progress: Progress { offset: start.offset, line: start.line, ..Progress::default() },
                rows: Some(rows),
                rejected,
                ..import
            },
            Err(unread) => {
                let Unfit { line, reason } = match unread {
                    Unread::Unfit(unfit) => unfit,
                    Unread::Failed(ImportError::Files(error)) => {
                        Unfit { line: 0, reason: lost(error)?.to_owned() }
                    }
                    Unread::Failed(error) => return Err(error.into()),
                };
                report = Report::default();
                report.add(line, &Remark::row(reason.clone()))?;
                failed(import, reason)
            }
        };
        let report = match report.finish()? {
            Some(csv) => {
                let key = format!("reports/{}/{}.csv", pool.id, next.id);
                self.bucket.write(&key, csv).await?;
                Some(key)
            }
            None => None,
        };
        self.save(Import { report, ..next }).await
    }

    async fn read_through(
        &self,
        pool: &CodePool,
        import: &Import,
        report: &mut Report,
    ) -> Result<Validated, Unread> {
        let mut object = self.bucket.open(&import.object, 0, import.etag.as_deref()).await?;
        if object.content_length().is_some_and(|bytes| bytes.unsigned_abs() > MAX_BYTES) {
            return unfit(0, "the file is larger than 64 MiB");
        }
        let mut head = Vec::new();
        while head.len() < csv::HEAD
            && let Some(chunk) = object.body.next().await
        {
            head.extend_from_slice(&chunk.map_err(FilesError::s3)?);
        }
        let opening = match csv::open(&head, Columns::rank) {
            Ok(opening) => opening,
            Err(kind) => return unfit(0, format!("the file is {kind}, not CSV in UTF-8")),
        };
        let csv::Opening { start, delimiter } = opening;
        let mut records = Records::resume(start, delimiter);
        let now = import.started_at.unwrap_or(import.created_at);
        let mut file = Reading {
            pool,
            now,
            delimiter,
            start,
            header: 0,
            columns: None,
            passed_over: PassedOver::new(),
            rows: 0,
            rejected: 0,
            headers: 0,
            report,
        };
        let rest = head.split_off(usize::try_from(start.offset).unwrap_or_default().min(head.len()));
        let mut chunk = Bytes::from(rest);
        loop {
            for record in records.feed(&chunk) {
                file.take(&record)?;
            }
            chunk = match object.body.next().await {
                Some(chunk) => chunk.map_err(FilesError::s3)?,
                None => break,
            };
        }
        if let Some(record) = records.finish() {
            file.take(&record)?;
        }
        file.finish()
    }

    async fn load(&self, pool: &CodePool, import: Import) -> Result<Import, Halt> {
        let reason = match self.load_rest(pool, &import).await {
            Err(Halt::Failed(ImportError::Files(error))) => lost(error)?,
            // The table refuses these rows permanently: a retry would fail again.
            Err(Halt::Failed(ImportError::Store(error @ TableError::Refused { .. }))) => {
                tracing::error!(import_id = %import.id, cause = %error, "rows refused");
                "some rows could not be stored"
            }
            outcome => return outcome,
        };
        let current = imports::read(&self.table, &pool.id, &import.id).await?;
        match current.filter(|current| !current.is_finished()) {
            Some(current) => self.give_up(current, reason.to_owned()).await,
            None => Err(Halt::Superseded),
        }
    }

    /// Ends an import that can't continue. All codes that it loaded stay, and those loaded after the last checkpoint
    /// are counted now.
    async fn give_up(&self, import: Import, reason: String) -> Result<Import, Halt> {
        let Loaded { added, lots, .. } = codes::loaded_by(&self.table, &import).await?;
        let since = added.saturating_sub(import.progress.added);
        let rev = import.rev;
        let report = self.whole_report(&import, import.progress.reported).await?;
        let progress = Progress { added, rows: import.progress.rows + since, ..import.progress };
        let import = Import { progress, report, rev: rev + 1, ..failed(import, reason) };
        noted(imports::checkpoint(&self.table, &import, rev, since, &lots).await, import)
    }

    async fn load_rest(&self, pool: &CodePool, import: &Import) -> Result<Import, Halt> {
        let Some((_, signing)) = accounts::read(&self.table, &pool.account_id).await? else {
            return Err(Halt::Superseded);
        };
        let Some(shelf) = claims::shelf(&self.table, &pool.id).await? else { return Err(Halt::Superseded) };
        let columns = Columns::named(import.columns.clone().unwrap_or_default());
        let now = import.started_at.unwrap_or(import.created_at);
        let mut loading = Loading {
            importer: self,
            key: signing.signing_key,
            lots: shelf.lots,
            import: import.clone(),
            batch: Vec::new(),
            end: Position { offset: import.progress.offset, line: import.progress.line },
        };
        let delimiter = Delimiter::new(import.delimiter).unwrap_or_default();
        let mut records = Records::resume(loading.end, delimiter);
        let object = match self.bucket.open(&import.object, loading.end.offset, import.etag.as_deref()).await
        {
            // The file ends with the header, or the last checkpoint is at the end of the file.
            Err(FilesError::PastEnd) => return loading.finish().await,
            object => object?,
        };
        let mut body = object.body;
        while let Some(chunk) = body.next().await {
            for record in records.feed(&chunk.map_err(FilesError::s3)?) {
                loading.take(record, &columns, pool, now).await?;
            }
        }
        if let Some(record) = records.finish() {
            loading.take(record, &columns, pool, now).await?;
        }
        loading.finish().await
    }
}

fn part_of_report(import: &Import, part: u32) -> String {
    format!("reports/{}/{}/{part}.csv", import.pool_id, import.id)
}

/// Returns the import if its write succeeded. Returns [`Halt::Superseded`] if another worker has changed the import,
/// or its pool is being deleted.
fn noted(outcome: Result<(), CommitError>, import: Import) -> Result<Import, Halt> {
    match outcome {
        Ok(()) => Ok(import),
        Err(CommitError::Condition(_)) => Err(Halt::Superseded),
        Err(CommitError::Table(error)) => Err(error.into()),
    }
}

fn failed(import: Import, reason: String) -> Import {
    let finished_at = Some(Timestamp::now());
    Import { status: ImportStatus::Failed, failure: Some(reason), finished_at, ..import }
}

/// Returns the reason for the import's failure if its file was deleted or replaced, and the error otherwise.
fn lost(error: FilesError) -> Result<&'static str, ImportError> {
    match error {
        FilesError::NotFound => Ok("the file was deleted before it was read"),
        FilesError::Changed => Ok("the file was replaced by another before it was read"),
        FilesError::PastEnd | FilesError::S3(_) => Err(error.into()),
    }
}

/// State of the validation.
struct Reading<'a> {
    pool: &'a CodePool,
    now: Timestamp,
    delimiter: Delimiter,
    start: Position,
    /// Line of the header, or of the first row if the file has no header.
    header: u64,
    columns: Option<Columns>,
    passed_over: PassedOver,
    rows: u64,
    rejected: u64,
    /// Number of repetitions of the header.
    headers: u64,
    report: &'a mut Report,
}

impl Reading<'_> {
    fn take(&mut self, record: &Record) -> Result<(), Unread> {
        let unfit = |reason| unfit(record.line, reason);
        if self.columns.is_none() {
            let Content::Cells(cells) = &record.content else {
                return unfit("the header is too long, or ends inside quotes".to_owned());
            };
            self.header = record.line;
            match Columns::first_row(cells) {
                Ok(FirstRow::Header(columns, remarks)) => {
                    for remark in &remarks {
                        self.report.add(record.line, remark)?;
                    }
                    self.columns = Some(columns);
                    self.start = record.end;
                    return Ok(());
                }
                Ok(FirstRow::Code(columns)) => {
                    let names = columns.names().join(", ");
                    let reason = format!("there is no header: the columns are taken as {names}");
                    self.report.add(record.line, &Remark::row(reason))?;
                    self.columns = Some(columns);
                }
                Err(reason) => return unfit(reason),
            }
        }
        let Some(columns) = &self.columns else { return Ok(()) };
        let mut broken = false;
        let read = match &record.content {
            Content::Cells(cells) => {
                let read = columns.read(record.line, cells, self.pool, self.now);
                if !matches!(read, Ok(Row::Header)) {
                    broken = self.passed_over.look(columns, cells);
                }
                read
            }
            Content::TooLong => Err(Remark::row("is too long")),
            Content::Unclosed => Err(Remark::row("ends inside quotes: the file seems to be cut off")),
        };
        match read {
            Ok(Row::Blank) => return Ok(()),
            Ok(Row::Header) => {
                self.headers += 1;
                if self.headers > MAX_HEADERS {
                    return unfit("the file has its header more than 1,000 times".to_owned());
                }
                self.report.add(record.line, &Remark::row("repeats the header and is ignored"))?;
                return Ok(());
            }
            Ok(Row::AnotherHeader) => {
                return unfit(format!(
                    "the file has a second header, whose columns differ from those in line {}",
                    self.header
                ));
            }
            Ok(Row::Code(_, remark)) => {
                if let Some(remark) = remark {
                    self.report.add(record.line, &remark)?;
                }
                if broken {
                    let reason = "has a line break in an ignored column: a closing quote may be missing";
                    self.report.add(record.line, &Remark::row(reason))?;
                }
            }
            Err(remark) => {
                self.rejected += 1;
                self.report.add(record.line, &remark)?;
            }
        }
        self.rows += 1;
        if self.rows > MAX_ROWS {
            return unfit("the file has more than 100,000 rows".to_owned());
        }
        Ok(())
    }

    fn finish(self) -> Result<Validated, Unread> {
        let Self { delimiter, start, header, passed_over, rows, rejected, report, .. } = self;
        let Some(columns) = self.columns else {
            return unfit(0, "the file is empty");
        };
        if let Some(reason) = passed_over.suspicion(&columns) {
            return unfit(header, reason);
        }
        if rows == 0 {
            report.add(header, &Remark::row("the file has a header and no rows"))?;
        }
        Ok(Validated { columns, delimiter, start, rows, rejected })
    }
}

/// State of the loading.
struct Loading<'a> {
    importer: &'a Importer,
    key: SigningKey,
    lots: Lots,
    import: Import,
    batch: Vec<NewCode>,
    /// End of the last record that was taken.
    end: Position,
}

impl Loading<'_> {
    async fn take(
        &mut self,
        record: Record,
        columns: &Columns,
        pool: &CodePool,
        now: Timestamp,
    ) -> Result<(), Halt> {
        self.end = record.end;
        if let Content::Cells(cells) = &record.content
            && let Ok(Row::Code(row, _)) = columns.read(record.line, cells, pool, now)
        {
            let lot = self.lots.place(row.platform, row.valid_until);
            self.batch.push(NewCode { lot, ..*row });
        }
        if self.batch.len() < ROWS_BETWEEN_CHECKPOINTS { Ok(()) } else { self.checkpoint(false).await }
    }

    /// Loads the batch and writes a checkpoint. `last` also writes the whole report and completes the import.
    async fn checkpoint(&mut self, last: bool) -> Result<(), Halt> {
        let Self { importer, key, import, batch, end, .. } = self;
        let mut loaded: Vec<Loaded> = Vec::new();
        for wave in batch.chunks(CODES_AT_ONCE * IN_FLIGHT) {
            let loads = wave.chunks(CODES_AT_ONCE);
            let loads = loads.map(|rows| codes::load(&importer.table, import, key, rows));
            loaded.extend(try_join_all(loads).await?);
        }
        let added = loaded.iter().map(|loaded| loaded.added).sum();
        let mut duplicates: Vec<_> =
            loaded.iter_mut().flat_map(|loaded| loaded.duplicates.drain(..)).collect();
        duplicates.sort_by_key(|duplicate| duplicate.line);
        let mut reported = import.progress.reported;
        if !duplicates.is_empty() {
            importer.report_duplicates(import, reported, &duplicates).await?;
            reported += 1;
        }
        let duplicates = duplicates.len() as u64;
        let report =
            if last { importer.whole_report(import, reported).await? } else { import.report.clone() };
        let found: HashSet<_> = loaded.into_iter().flat_map(|loaded| loaded.lots).collect();
        let now = Timestamp::now();
        let rev = import.rev;
        let now_at = Import {
            status: if last { ImportStatus::Completed } else { ImportStatus::Loading },
            progress: Progress {
                offset: end.offset,
                line: end.line,
                rows: import.progress.rows + added + duplicates,
                added: import.progress.added + added,
                duplicates: import.progress.duplicates + duplicates,
                reported,
            },
            report,
            checked_at: Some(now),
            finished_at: last.then_some(now),
            rev: rev + 1,
            ..import.clone()
        };
        let outcome = imports::checkpoint(&importer.table, &now_at, rev, added, &found).await;
        batch.clear();
        self.import = noted(outcome, now_at)?;
        Ok(())
    }

    async fn finish(mut self) -> Result<Import, Halt> {
        self.checkpoint(true).await?;
        Ok(self.import)
    }
}
