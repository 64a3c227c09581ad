//! Archive of codes that were claimed long ago: the text of a code moves from the table to a file.
//!
//! The code item stays, so that no import adds the code again. The claim item stays, so that the user still
//! receives the same code. Both items hold the location of the text.

use std::collections::HashMap;

use domain::text::Metadata;
use jiff::Timestamp;
use table::{
    Commit, CommitError, Entity, LIST_SHARDS, MAX_WRITES, Query, Range, Table, TableError, leave_out,
};

use crate::{
    claim::{Archived, Claim, Code},
    entities::{code_key, used_at, used_partition},
    id::{CodeId, CodePoolId},
    patterns,
};

/// Reads claims of a pool that were made before this time and whose codes are not archived, with the codes.
pub async fn due(
    table: &Table,
    pool: &CodePoolId,
    before: Timestamp,
    limit: usize,
) -> Result<Vec<(Claim, Code)>, TableError> {
    let mut claims: Vec<Claim> = Vec::new();
    for shard in 0..LIST_SHARDS {
        let query = Query {
            range: Range::Before(used_at(before)),
            limit: Some((limit / usize::from(LIST_SHARDS)).max(1)),
            ..Query::partition(used_partition(pool, shard))
        };
        claims.extend(table.query::<Claim>(&patterns::CODES_USED, query).await?);
    }
    let keys: Vec<_> = claims.iter().map(|claim| code_key(&claim.code_id)).collect();
    let found = table.batch_get(&patterns::CODES_ARCHIVED, &keys).await?;
    let codes: HashMap<CodeId, Code> = found
        .into_values()
        .map(|item| Code::from_item(item).map(|code| (code.id.clone(), code)))
        .collect::<Result<_, _>>()?;
    let paired = claims.into_iter().filter_map(|claim| {
        let code = codes.get(&claim.code_id)?.clone();
        Some((claim, code))
    });
    Ok(paired.collect())
}

/// Claim with its code, and the location of the text of the code in the archive.
pub type Used = (Claim, Code, Archived);

/// Replaces the texts of these codes by their locations. Items that have changed meanwhile stay as they are, for
/// the next run.
pub async fn settle(table: &Table, used: &[Used]) -> Result<(), TableError> {
    for used in used.chunks(MAX_WRITES / 2) {
        let mut used: Vec<_> = used.iter().collect();
        while !used.is_empty() {
            let mut commit = Commit::new(&patterns::CODES_ARCHIVED);
            for (claim, code, place) in &used {
                let archived = Some(place.clone());
                let slim_claim =
                    Claim { code: None, archived: archived.clone(), rev: claim.rev + 1, ..claim.clone() };
                let slim_code = Code {
                    code: None,
                    metadata: Metadata::default(),
                    archived,
                    rev: code.rev + 1,
                    ..code.clone()
                };
                commit =
                    commit.replace("claim", &slim_claim, claim.rev).replace("code", &slim_code, code.rev);
            }
            match commit.apply(table).await {
                Ok(()) => break,
                Err(CommitError::Table(error)) => return Err(error),
                Err(CommitError::Condition(failed)) => {
                    let changed: Vec<_> = failed.iter().map(|failed| failed.position / 2).collect();
                    leave_out(&mut used, &changed);
                }
            }
        }
    }
    Ok(())
}
