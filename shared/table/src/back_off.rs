//! Back-off between attempts, the same for all retries.

use std::time::Duration;

/// Waits a random time (full jitter) before the next attempt. The bound is 25 ms after the first attempt and
/// doubles up to 800 ms.
pub async fn back_off(attempt: u32) {
    let bound = 10u64 << attempt.min(6).saturating_sub(1);
    let [byte] = domain::secret::random::<1>();
    let millis = (bound * 5 / 2).min(800) * u64::from(byte) / 255 + 1;
    tokio::time::sleep(Duration::from_millis(millis)).await;
}
