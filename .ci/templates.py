"""Helps .ci/templates: translates the templates to plain CloudFormation, and judges the findings of checkov."""

import copy
import json
import logging
import pathlib
import sys

logging.disable(logging.ERROR)

from samcli.yamlhelper import yaml_parse
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator


def read(path):
    return yaml_parse(pathlib.Path(path).read_text())


def translate(target):
    template = read("template.yaml")
    for resource in template["Resources"].values():
        properties = resource.get("Properties", {})
        # The values that `sam package` would set.
        if resource["Type"] == "AWS::Serverless::Function":
            properties["CodeUri"] = "s3://bucket/key"
        if resource["Type"] == "AWS::CloudFormation::Stack":
            properties["TemplateURL"] = "https://s3.amazonaws.com/bucket/key"
    for canary in ["true", "false"]:
        values = {name: parameter.get("Default", "x") for name, parameter in template["Parameters"].items()}
        values |= {"Canary": canary, "AWS::Region": "eu-west-1", "AWS::Partition": "aws"}
        plain = Translator({}, Parser()).translate(copy.deepcopy(template), values)
        versions = [it for it in plain["Resources"].values() if it["Type"] == "AWS::Lambda::Version"]
        described = [it for it in versions if "Fn::Sub" in it["Properties"].get("Description", {})]
        # CloudFormation publishes a new version for changed variables only if this description changes.
        if not versions or described != versions:
            sys.exit(f"templates: of {len(versions)} versions {len(described)} have a description of their variables")
        pathlib.Path(target, f"template-canary-{canary}.json").write_text(json.dumps(plain, indent=1, default=str))


def judge(path):
    found = json.loads(pathlib.Path(path).read_text())["results"]
    reasons = read(".ci/checkov.yaml")
    unused, problems = set(reasons), []
    suppressed = 0
    for check in found["failed_checks"]:
        place = f'{check["check_id"]} {check["file_path"]} {check["resource"]}: {check["check_name"]}'
        if check["check_id"] in reasons:
            unused.discard(check["check_id"])
            suppressed += 1
        else:
            problems.append(place)
    for check in found["skipped_checks"]:
        reason = (check["check_result"].get("suppress_comment") or "").strip()
        if len(reason.split()) < 4:
            problems.append(f'{check["check_id"]} {check["resource"]} is suppressed without a reason')
        suppressed += 1
    problems += [f"{check} is suppressed in .ci/checkov.yaml, and never fails" for check in unused]
    for problem in problems:
        print(f"templates: {problem}", file=sys.stderr)
    passed = len(found["passed_checks"])
    print(f"templates: {passed} checks passed, {suppressed} suppressed with a reason, {len(problems)} failed")
    # Too few passed checks mean that checkov itself did not work.
    sys.exit(1 if problems or passed < 100 else 0)


if __name__ == "__main__":
    {"translate": translate, "judge": judge}[sys.argv[1]](sys.argv[2])
