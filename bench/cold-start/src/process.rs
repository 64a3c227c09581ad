//! Processes of functions: starts them as Lambda does and measures their resources.

use std::{
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use nix::{
    time::{clock_getcpuclockid, clock_gettime},
    unistd::Pid,
};

use crate::Failure;

/// CPU time and memory that a process has used so far.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// CPU time of all threads, in user mode and in the kernel.
    pub cpu: Duration,
    /// Resident memory in KiB: now (`resident`) and at its peak (`peak`).
    pub resident: u64,
    pub peak: u64,
}

/// Reads the CPU time and the memory of a process.
///
/// # Errors
/// Fails if there is no such process.
pub fn usage(pid: u32) -> Result<Usage, Failure> {
    // This clock counts nanoseconds; /proc/<pid>/stat counts hundredths of a second.
    let clock = clock_getcpuclockid(Pid::from_raw(i32::try_from(pid)?))?;
    let cpu = clock_gettime(clock)?.into();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let field = |name: &str| {
        let value = status.lines().find_map(|line| line.strip_prefix(name))?;
        value.trim().trim_end_matches(" kB").parse().ok()
    };
    let unreadable = || format!("can't read {status}");
    Ok(Usage {
        cpu,
        resident: field("VmRSS:").ok_or_else(unreadable)?,
        peak: field("VmHWM:").ok_or_else(unreadable)?,
    })
}

/// Command that runs a function.
#[derive(Clone)]
pub struct Launch {
    pub program: PathBuf,
    pub arguments: Vec<String>,
    pub directory: PathBuf,
    pub environment: Vec<(String, String)>,
}

/// Running process. Killed when dropped.
pub struct Running {
    child: Child,
    pub started_at: Instant,
}

impl Launch {
    /// Starts the process with additional variables.
    ///
    /// # Errors
    /// Fails if the program cannot be run.
    pub fn start(&self, more: &[(&str, &str)]) -> Result<Running, Failure> {
        let mut command = Command::new(&self.program);
        command
            .args(&self.arguments)
            .current_dir(&self.directory)
            .env_clear()
            .envs(self.environment.iter().cloned())
            .envs(more.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        let started_at = Instant::now();
        let child = command.spawn().map_err(|error| format!("{}: {error}", self.program.display()))?;
        Ok(Running { child, started_at })
    }
}

impl Running {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns the exit status if the process has ended.
    pub fn ended(&mut self) -> Option<String> {
        self.child.try_wait().ok().flatten().map(|status| status.to_string())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
