const button = document.querySelector("button");
const text = document.getElementById("text");
button.addEventListener("click", async () => {
  button.disabled = true;
  const token = new URLSearchParams(location.search).get("token") ?? "";
  // A customer's token, of a campaign's mail.
  const action = token.startsWith("ot.") ? "api/v1/customers/unsubscribe" : button.dataset.action;
  try {
    const answer = await fetch(action, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ token }),
    });
    const body = answer.status === 204 ? {} : await answer.json();
    if (!answer.ok) throw new Error(body.title);
    text.textContent = button.dataset.done.replace("{position}", body.position ?? "–");
    button.hidden = true;
    if (body.referral_url) {
      const link = document.getElementById("link");
      link.href = link.textContent = body.referral_url;
    }
  } catch (error) {
    text.textContent = `That did not work: ${error.message}.`;
    button.disabled = false;
  }
});
