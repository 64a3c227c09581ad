#!/usr/bin/env python3
"""Asks libphonenumber how numbers are read (`pip install phonenumbers==9.0.43`), for the tests of `src/phone.rs`.

Writes `phone-numbers.json` beside itself: the separators that libphonenumber reads, Unicode's decimal digits, and for
each region its example numbers, each in E.164 form first and then in spellings that libphonenumber reads as that one.
"""

import json
import pathlib
import sys
import unicodedata

import phonenumbers as lib
from phonenumbers import phonenumberutil as util

KINDS = [lib.PhoneNumberType.FIXED_LINE, lib.PhoneNumberType.MOBILE]
OTHER_DIGITS = str.maketrans("+0123456789", "＋٠١٢٣٤٥٦٧٨٩")


def spellings(number, metadata):
    e164 = lib.format_number(number, lib.PhoneNumberFormat.E164)
    code, national = number.country_code, lib.national_significant_number(number)
    yield e164
    yield lib.format_number(number, lib.PhoneNumberFormat.INTERNATIONAL)
    yield lib.format_number(number, lib.PhoneNumberFormat.RFC3966)
    yield e164.translate(OTHER_DIGITS)
    if trunk := metadata.national_prefix:
        yield f"+{code} ({trunk}) {national}"
        yield f"+{code} ({trunk}{national[:2]}) {national[2:]}"
    yield f"+{code} (0){national}"


numbers = []
for code, regions in sorted(util.COUNTRY_CODE_TO_REGION_CODE.items()):
    for region in regions:
        if region == util.REGION_CODE_FOR_NON_GEO_ENTITY:
            metadata = lib.PhoneMetadata.metadata_for_nongeo_region(code)
            examples = [lib.example_number_for_non_geo_entity(code)]
        else:
            metadata = lib.PhoneMetadata.metadata_for_region(region)
            examples = [lib.example_number_for_type(region, kind) for kind in KINDS]
        for number in filter(None, examples):
            e164 = lib.format_number(number, lib.PhoneNumberFormat.E164)
            read = []
            for text in dict.fromkeys(spellings(number, metadata)):
                parsed = lib.parse(text, None)
                if lib.format_number(parsed, lib.PhoneNumberFormat.E164) == e164:
                    read.append(text)
            numbers.append(read)

characters = [chr(c) for c in range(sys.maxunicode) if not 0xD800 <= c < 0xE000]
separators = []
for c in characters:
    # Letters, and the star of service codes, are not part of a phone number here.
    if c in "+*" or c.isalnum():
        continue
    try:
        parsed = lib.parse(f"+44{c}7911{c}123456", None)
    except lib.NumberParseException:
        continue
    if lib.format_number(parsed, lib.PhoneNumberFormat.E164) == "+447911123456":
        separators.append(c)
zeros = [c for c in characters if unicodedata.category(c) == "Nd" and unicodedata.digit(c) == 0]

lines = ",\n".join("  " + json.dumps(number, ensure_ascii=False) for number in numbers)
(pathlib.Path(__file__).parent / "phone-numbers.json").write_text(
    f'{{\n"separators": {json.dumps(separators)},\n"zeros": {json.dumps(zeros)},\n"numbers": [\n{lines}\n]\n}}\n'
)
