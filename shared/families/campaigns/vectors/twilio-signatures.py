#!/usr/bin/env python3
"""Signs requests with Twilio's own library (`pip install twilio==9.13.0`), for the tests of `src/twilio.rs`.

Writes `twilio-signatures.json` beside itself.
"""

import hashlib
import json
import pathlib

from twilio.request_validator import RequestValidator

URL = "https://api.example.com/api/v1/providers/twilio/status?account_id=acct_1&send_id=send_1"
FORMS = [
    {},
    {"MessageSid": "SM1", "MessageStatus": "delivered"},
    {"Body": "Hallo, wann öffnet ihr? ☕", "From": "whatsapp:+4915112345678", "To": "whatsapp:+493012345678"},
    {"Body": "", "From": "+4915112345678", "NumMedia": "0"},
    {"b": "2", "a": "1", "B": "3", "aa": "4", "a1": "5"},
    {"Body": "a&b=c+d%20e\r\nf", "OptOutType": "STOP"},
    {"Body": "x" * 1600},
]
BODIES = ["{}", '{"MessageStatus": "read"}', '{"Body": "öffnet ☕", "n": [1, 2]}', "x" * 4000]

cases = []
for token in ["0123456789abcdef0123456789abcdef", "f" * 32]:
    validator = RequestValidator(token)
    for form in FORMS:
        cases.append({"token": token, "url": URL, "form": form, "signature": validator.compute_signature(URL, form)})
    for body in BODIES:
        url = f"{URL}&bodySHA256={hashlib.sha256(body.encode()).hexdigest()}"
        cases.append({"token": token, "url": url, "body": body, "signature": validator.compute_signature(url, {})})
        assert validator.validate(url, body, cases[-1]["signature"])
path = pathlib.Path(__file__).with_suffix(".json")
path.write_text(json.dumps(cases, indent=1, ensure_ascii=False) + "\n")
print(f"{len(cases)} requests signed")
