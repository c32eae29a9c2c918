"""The AWS command line, loaded once and forked for every command.

`aws` takes most of a second to load what it is, and then does what is done here. Reads one JSON
document a line, a list of commands ``{"arguments", "out", "err"}``; runs them at once, with
their output in the files named, and answers with the list of their exit statuses.
"""

import contextlib
import json
import os
import signal
import sys

import awscli.clidriver

SECONDS = 100


def run(driver, arguments, out, err):
    """Be the command line, in a process that ends with it."""
    signal.alarm(SECONDS)
    for number, path in enumerate((os.devnull, out, err)):
        opened = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        os.dup2(opened, number)
        os.close(opened)
    status = 255
    with contextlib.suppress(SystemExit):
        status = driver.main(arguments)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def main():
    """Fork what is asked for until nobody asks any more."""
    driver = awscli.clidriver.create_clidriver()
    driver.session.get_service_model("s3")
    for line in sys.stdin:
        started = []
        for command in json.loads(line):
            started.append(os.fork())
            if not started[-1]:
                run(driver, **command)
        statuses = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in started]
        print(json.dumps(statuses), flush=True)


if __name__ == "__main__":
    main()
