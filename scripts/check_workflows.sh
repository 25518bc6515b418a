#!/usr/bin/env bash
# Check what is in .github, which can't be run here: check_workflows.sh BIN, the folder of the tools.
#
# zizmor knows what makes a workflow unsafe; the schemas say what a forge understands.
set -euo pipefail

bin=$1
schema() {
  "$bin/check-jsonschema" --quiet --builtin-schema "$@"
}

"$bin/zizmor" --offline --persona pedantic --quiet .github
schema vendor.github-workflows .github/workflows/*.yml
# Each job ends by itself.
schema custom.github-workflows-require-timeout .github/workflows/*.yml
schema vendor.github-issue-forms .github/ISSUE_TEMPLATE/*.yml
schema vendor.dependabot .github/dependabot.yml
