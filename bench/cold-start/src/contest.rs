//! Measurement of a Rust function and of its peer, in turns.

use std::time::Duration;

use bytes::Bytes;
use tokio_rustls::TlsAcceptor;

use crate::{
    Failure,
    canned::Canned,
    dynamodb::DynamoDb,
    process::{Launch, Running, Usage},
    runtime::{Outcome, Runtime},
};

/// Time-out of a call, which only a stuck process exceeds.
const PATIENCE: Duration = Duration::from_secs(20);
/// Calls to one process before the other process gets its turn.
const TURN: usize = 100;
/// Warm-up calls, which are not measured: Node.js compiles functions that are called often.
const WARMING: usize = 500;

/// Task of all contestants.
pub struct Contest {
    pub canned: Canned,
    pub event: Bytes,
    pub tls: TlsAcceptor,
    /// Time that DynamoDB takes for an answer.
    pub delay: Duration,
}

/// Time and resources from the start of the process to the first answer.
pub struct ColdStart {
    pub total: Duration,
    pub usage: Usage,
}

/// Measurements of a process that has already answered many calls.
#[derive(Default)]
pub struct Warm {
    pub calls: Vec<Duration>,
    /// CPU time of all calls together.
    pub cpu: Duration,
    pub resident: u64,
}

/// Process with the servers that it uses.
struct Stage {
    process: Running,
    runtime: Runtime,
    dynamodb: DynamoDb,
}

impl Contest {
    async fn stage(&self, launch: &Launch) -> Result<Stage, Failure> {
        let runtime = Runtime::start(self.event.clone()).await?;
        let dynamodb = DynamoDb::start(&self.canned, self.tls.clone(), self.delay).await?;
        runtime.allow();
        let process = launch.start(&[
            ("AWS_LAMBDA_RUNTIME_API", &runtime.address.to_string()),
            ("AWS_ENDPOINT_URL_DYNAMODB", &dynamodb.endpoint),
            ("TABLE_NAME", &self.canned.table),
        ])?;
        runtime.watch(process.pid());
        Ok(Stage { process, runtime, dynamodb })
    }

    async fn outcome(&self, stage: &mut Stage) -> Result<(Outcome, Usage), Failure> {
        let outcome = tokio::time::timeout(PATIENCE, stage.runtime.outcome()).await.ok().flatten();
        let Some(outcome) = outcome else {
            let end = stage.process.ended().unwrap_or_else(|| "still running".to_owned());
            return Err(format!("no answer ({end}) after {:?}", names(&stage.dynamodb)).into());
        };
        match &outcome.answer {
            Ok(answer) => self.canned.check_answer(answer)?,
            Err(error) => return Err(String::from_utf8_lossy(error).into_owned().into()),
        }
        let usage = outcome.usage.ok_or("the process is gone")?;
        Ok((outcome, usage))
    }

    /// Starts a process and waits for its first answer.
    ///
    /// # Errors
    /// Fails if the process deviates from the recording.
    pub async fn cold(&self, launch: &Launch) -> Result<ColdStart, Failure> {
        let mut stage = self.stage(launch).await?;
        let (outcome, usage) = self.outcome(&mut stage).await?;
        self.canned.check_calls(&stage.dynamodb.take_made())?;
        Ok(ColdStart { total: outcome.answered_at - stage.process.started_at, usage })
    }

    /// Starts both processes and lets them answer calls in turns.
    ///
    /// # Errors
    /// Fails if a process deviates from the recording.
    pub async fn warm(&self, launches: [&Launch; 2], calls: usize) -> Result<[Warm; 2], Failure> {
        let mut stages = [self.stage(launches[0]).await?, self.stage(launches[1]).await?];
        let mut warm = [Warm::default(), Warm::default()];
        for (stage, warm) in stages.iter_mut().zip(&mut warm) {
            self.outcome(stage).await?;
            self.turn(stage, warm, WARMING).await?;
            *warm = Warm::default();
        }
        while warm[0].calls.len() < calls {
            for (stage, warm) in stages.iter_mut().zip(&mut warm) {
                self.turn(stage, warm, TURN).await?;
            }
        }
        Ok(warm)
    }

    async fn turn(&self, stage: &mut Stage, warm: &mut Warm, calls: usize) -> Result<(), Failure> {
        // Each measured call begins and ends at an answer, so an unmeasured call comes first.
        stage.runtime.allow();
        let (_, before) = self.outcome(stage).await?;
        let mut after = before;
        for _ in 0..calls {
            stage.dynamodb.take_made();
            stage.runtime.allow();
            let (outcome, usage) = self.outcome(stage).await?;
            self.canned.check_calls(&stage.dynamodb.take_made())?;
            warm.calls.push(outcome.answered_at - outcome.handed_at);
            after = usage;
        }
        warm.cpu += after.cpu.saturating_sub(before.cpu);
        warm.resident = after.resident;
        Ok(())
    }
}

fn names(dynamodb: &DynamoDb) -> Vec<String> {
    dynamodb.take_made().into_iter().map(|(name, _)| name).collect()
}
