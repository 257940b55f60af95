"""How the lines of a log are told apart: tracebacks, exceptions, tools' errors, warnings, what only follows a failure.

Only what every program of a kind writes stands here; what single failures say stands in `rules/`.
"""

from __future__ import annotations

import re

PREFIX = re.compile(
    r"""(?:
      \[(?:rank|default)\d+\]:[ ]?(?:\[rank\d+\]:[ ]?)?                                   # torchrun
    | \([\w.]{0,60}[ ]?(?:pid|rank|ip)=[^)\n]{1,80}\)[ ]                                  # ray, vllm
    | (?:ERROR|INFO|WARNING)[ ]\d\d-\d\d[ ]\d\d:\d\d:\d\d[ ]\[?[\w./]{1,80}:\d+\][ ]?     # vllm
    | \d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d{1,9})?(?:Z|[+-]\d\d:?\d\d)?[ ]           # services, CI
    | (?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[ ]{1,2}\d{1,2}[ ]\d\d:\d\d:\d\d[ ]
      (?:[\w.-]{1,60}[ ][\w./-]{1,60}\[\d+\]:[ ]?)?                                            # syslog
    | \[?\d\d:\d\d:\d\d(?:[.,]\d{1,9})?\]?[ ]
    | \#\d{1,4}[ ]\d{1,6}\.\d{1,4}[ ]?                                                       # docker build
    | [\w.-]{1,40}[ ]{1,20}\|[ ]                                                          # docker compose
    | stderr:[ ]|>[ ]|E[ ]{3}
    )""",
    re.VERBOSE,
)
"""What launchers, services and mail put before a line."""

TRACEBACK = re.compile(r"Traceback \(most recent call last\)")
ORIGINAL = re.compile(
    r"^(?:Original Traceback \(most recent call last\)|-- Process \d+ terminated with the following error)"
)
IGNORED = re.compile(r"^(?:Exception ignored (?:in|on)|Exception in thread)")
ANY_FRAME = re.compile(r'(?m)^File "[^"\n]{1,800}", line \d+')
FRAME = re.compile(r'^File "[^"\n]{1,800}", line \d+')
LINKED = re.compile(
    r"^(?:During handling of the above exception, another exception occurred"
    r"|(?P<cause>The above exception was the direct cause of the following exception))"
)
_NAME = r"(?P<name>(?:[A-Za-z_]\w{0,80}\.){0,8}[A-Za-z_]\w{0,80})"
ANY_RAISE = re.compile(rf"^{_NAME}(?::(?P<said>\s.*|$)|$)")
"""A traceback's last line, whatever the exception is called."""
_KINDS = (
    r"Error|Exception|Interrupt|Exit|Fail|NotFound|NotImplemented|InvalidArgument|InvalidProtobuf|IsEnabled|Mismatch"
)
_CALLED = (
    rf"(?P<name>(?:[A-Za-z_]\w{{0,80}}\.){{0,8}}[A-Za-z_]\w{{0,80}}(?:{_KINDS})"
    r"|cv2\.error|Exception|ResolvePackageNotFound)"
)
RAISE = re.compile(rf"^{_CALLED}(?::(?P<said>.*)|$)")
"""An exception's line that stands without its traceback."""
RAISE_WITHIN = re.compile(
    r"^(?!raise |except |[\"'#]).{0,1800}[\s:>)\]]"
    r"(?P<name>(?:[A-Za-z_]\w{0,80}\.){0,8}[A-Z]\w{0,80}(?:Error|Exception)): (?P<said>\S.*)"
)
"""An exception's line after words of whoever reports it, the last one of a line."""

WORDS = (
    *("error", "fail", "fatal", "excep", "kill", "cannot", "can't", "could", "not ", " no ", "no ", "unab", "unsup"),
    *(
        "undef",
        "unknown",
        "unexp",
        "uncorr",
        "unsat",
        "unrec",
        "unhand",
        "unsafe",
        "unadv",
        "unavail",
        "inval",
        "incomp",
    ),
    *(
        "incons",
        "deni",
        "refus",
        "miss",
        "mism",
        "time out",
        "timed",
        "timeout",
        "time-out",
        "out of",
        "abort",
        "fault",
    ),
    *("illegal", "broken", "damag", "corrupt", "trunc", "quota", "dubious", "too ", "already", "wrong", "nan ", "died"),
    *("lost", "requir", "must", "restrict", "low memory", "terminat", "cancel", "externally", "xid", "isn't", "does"),
    *(
        "removed",
        "limit",
        "attempt",
        "detect",
        "\u00d7 ",
        "[e",
        "exit",
        "panic",
        "critical",
        "assert",
        "stopped",
        "closed",
    ),
    *(
        "interrupt",
        "leak",
        "many",
        "conflict",
        "in use",
        "over its",
        "problem",
        "certificate",
        "dumped",
        "empty",
        "unles",
    ),
    *("段错误", "stuck", "warn", "reset", "unreach", "traceback", "what():", "notfound", "fallen", "run as root"),
    *("initialized", "crash", "giv", "gave up", "but got", "but found", "using all", "no such", "unmet", "is to be"),
)
"""A line without one of these, in any case, tells of no failure; each is searched as plain text, which is quick."""

WARNING = re.compile(
    r"[A-Za-z]Warning:|(?<![=\w])WARN(?:ING)?\b|^\[W|^W\d{4} |^W: |\bwarning( [#\w-]+)?:|\bnote:|^hint:"
    r"|\[TRT\] \[W\]|^WARNING"
    r"|^\[!\] |Retrying \(Retry|UserWarning|^warnings\.warn\("
)
PROGRESS = re.compile(
    r"(?m)\bEpoch ?(?:\(\w{1,10}\) ?)?\[|^Iter(?:ation)? ?(?:\(\w{1,10}\) ?)?\[|\d(?:it/s|s/it)\b|\bloss: ?\d"
)
"""How a run that goes on counts its epochs and steps."""
NOT_A_FAILURE = re.compile(
    r"After October 2020 you may experience errors|pip's dependency resolver does not currently take into account"
    r"|which is incompatible\.$"
    r"|^(?:error_file|error_)|0 errors?\b|Looking for incompatible packages|CUDA kernel errors might"
    r"|^\s*(?:if|raise|except|return|assert|def|with|for) "
    r"|- (?:INFO|DEBUG) - |^\[?(?:INFO|DEBUG)\b(?!:torch\.distributed)|\bNCCL INFO\b|\[I\] "
    r"|\b[Rr]etrying\b|\bwill retry\b|[Tt]rying again|cannot be preloaded .{1,80}: ignored"
    r"|^\| .{1,400} \|$"
    r"|^[-*•] (?:[`\"'“]|\w{1,60}(?:Error|Exception): )|^\W{0,4}[Ii]f (?:you|it) "
)
ERROR = re.compile(
    r"""^(?:[^\s:]{1,300}:\s?(?:\d{1,7}:){0,2}\s?)?(?:fatal|internal|catastrophic)?\s?(?:error|Error|ERROR)\b[^:\n]{0,40}:
      | ^[^\s()]{1,300}\(\d+\):[ ](?:fatal[ ])?error
      | ^(?:nvcc|ptxas|nvlink)[ ](?:fatal|error)
      | \bERROR\b | \[error\] | \bFATAL\b | \bCRITICAL\b
      | ^fatal: | ^E:[ ] | ^E\d{4}[ ] | ^\[E\d{0,4}[ :] | ^\[E\] | \[TRT\][ ]\[E\] | \[E\][ ]\[TRT\]
      | ^CMake[ ]Error | ^(?:\S{0,200}/)?ld:[ ] | ^make(?:\[\d+\])?:[ ]\*\*\*
      | :[ ]command[ ]not[ ]found$ | :[ ]Permission[ ]denied | :[ ]No[ ]such[ ]file[ ]or[ ]directory$ | :[ ]not[ ]found$
      | (?:^|[ :\d\]])
        (?:Segmentation[ ]fault|Bus[ ]error|Aborted|Illegal[ ]instruction|Floating[ ]point[ ]exception|Killed)
        (?:[ ]\(core[ ]dumped\))?$
      | ^terminate[ ]called | ^curl:[ ]\(\d+\) | export[ ]failure | ^×[ ] | ^FAILED[ ] | ^panic: | panicked[ ]at[ ]
      | ^Assertion[ ].{1,300}[ ]failed | Assertion[ ].{1,300}[ ]failed\.?$""",
    re.VERBOSE,
)
"""A line by which a tool or a program says that it failed."""
FAINT = re.compile(
    r"(?i)\b(?:error|fail(?:ed|ure(?! to do)|s)?|exception|abort(?:ed|ing)?|fatal|cannot|can't"
    r"|could(?: not|n't)|unable to|unmet|held broken|not going to be|not installable"
    r"|refused|denied|crash(?:ed|es)?|died|killed|dumped|giv(?:e|es|en|ing) up|gave up|no such|not found|missing"
    r"|invalid|illegal|unsupported|undefined|mismatch(?:es|ed)?|corrupt(?:ed)?|timed out|out of memory"
    r"|(?:but|instead) (?:got|found)|using all available|segmentation|unexpectedly|terminated)\b"
)
"""Words that make the end of a log suspicious where nothing else does."""

LEVEL = re.compile(r"^.{0,80}?\b(?:INFO|DEBUG)\b\W*")
"""What a logger puts before a line that it takes for no failure."""

WRAPPER = re.compile(
    r"ChildFailedError|CalledProcessError|ninja: build stopped|Error compiling objects for extension"
    r"|Error building extension|error: command .{1,300} failed with exit (?:status|code)"
    r"|Failed building (?:wheel|editable)"
    r"|ERROR: Failed to build|^Failed to build|Could not build wheels|metadata-generation-failed"
    r"|subprocess-exited-with-error"
    r"|^error: failed to build|did not run successfully|originates from a subprocess|^make(?:\[\d+\])?: \*\*\*"
    r"|compilation terminated|errors? detected in the compilation|ld returned \d+ exit status|^FAILED: "
    r"|Command errored out with exit status|failed \(exitcode: |Sending process \d+ closing signal"
    r"|^exitcode +:|Failed to build `|The build backend returned an error|^Call to `|ProcessRaisedException"
    r"|(?:^|\.)SystemExit|Exiting with failure status|checkout failed|remote end hung up unexpectedly"
    r"|Could not read from remote repository|InstallationSubprocessError|installation-subprocess"
    r"|legacy-install-failure"
    r"|RayTaskError|CondaEnvException|executor failed running|^##\[error\]Process completed"
    r"|exited with code \d|Main process exited|^FAILED \S{1,200}::|failed to solve: process"
    r"|^fatal: clone of '|^Failed to clone '"
    r"|Failed to spawn|Encountered error while (?:generating|trying)|fetch-pack: invalid|Could not deserialize"
    r"|fatal error: error in backend|^ERROR conda\.core|finished with status 'error'|\.\.\. error$"
    r"|Complete output|exit code: \d|Failed to parse (?:the )?ONNX (?:model|file)|local_elastic_agent"
)
"""Words of what started a program that failed: the failure itself is said before or after them."""
AFTERMATH = re.compile(
    r"^terminate called|^what\(\): |(?:^|[ :])Aborted(?: \(core dumped\))?$|core dumped|BrokenPipeError|^EOFError$"
    r"|ConnectionResetError|ConnectionRefusedError|Connection (?:closed|reset) by (?:remote )?peer"
    r"|exited unexpectedly"
    r"|Watchdog caught collective|detected by watchdog|watchdog got stuck"
    r"|leaked semaphore|Some NCCL operations have failed"
    r"|taking the entire process down|^srun: (?:error|launch)"
    r"|slurmstepd: error: [^\n]{0,200}CANCELLED AT (?!.{0,80}DUE TO)"
    r"|exception not rethrown|remote process exited or there was a network error|ncclRemoteError"
    r"|DistStoreError|store->get"
    r"|ProcessGroupNCCL.{0,200}(?:terminated|abort)|Engine deserialization failed|^Exception in thread"
    r"|Connection refused|fatal: [Nn]ot a git repository|(?:^|[ :\d])Killed$"
)
"""What other processes, or the same one on its way out, say once something has failed; else a failure."""

END_OF_MESSAGE = re.compile(
    r"^\[end of output\]|^frame #\d|^(?:\(\w{1,40}\) ?)?[\w.-]{1,60}@[\w.-]{1,60}[:\s]|^(?:\([\w.-]{1,40}\) )?[$❯➜#] "
    r"|^-{20,}|^={20,}|^hint: | - (?:INFO|WARNING|ERROR) - |^\[?(?:INFO|DEBUG)\b"
)
BUILDING = re.compile(
    r"\bnvcc\b|\bninja\b|\bg\+\+|\bgcc\b|cc1plus|cpp_extension\.py|build_ext|bdist_wheel|setup\.py"
    r"|[Bb]uilding (?:wheel|editable)"
    r"|Failed to build|subprocess-exited|\bcicc\b|\bptxas\b|build_meta|compilation terminated|egg_info"
)
INSTALLER = re.compile(
    r"subprocess-exited-with-error|Getting requirements to build|[Bb]uilding wheel|build backend|egg_info|bdist_wheel"
    r"|metadata-generation-failed|running (?:build_ext|develop|install)|pyproject_hooks|pip-install-|build_meta"
)
INSTALLING = re.compile(
    r"(?m)^(?:Collecting |Looking in (?:links|indexes)|Installing collected|Resolved \d|Prepared \d|× )"
    r"|^Solving environment"
    r"|\bpip(?:3|\._vendor| install| subprocess)|No solution found|^error: .{0,40}[Ff]etch|repodata"
    r"|^ERROR: (?:Could not|No matching)"
    r"|metadata-generation|^Requirement already"
)
RUNNING = re.compile(
    r"Epoch ?\[|\bmmdet\b.{0,30}- INFO|mmengine|runner|tools/(?:dist_)?(?:train|test)|\bdataloader\b|DataLoader"
    r"|elastic|load_checkpoint|\bforward\b|torch/nn/modules"
)
WELL = re.compile(
    r"- INFO -|^\[?INFO\b|\bINFO\b|Epoch|^\W*\d{1,3}%|\d+/\d+|\bit/s|^m[A-Z]{2,3}: |^NDS|^loss"
    r"|^(?:Done|Finished|Results saved)|^[+|].*[+|]$|^\{'"
    r"|^(?:Downloading|Collecting|Using cached) \S|which is (?:incompatible|not installed)\.?$"
    r"|^\w{1,40}(?:\s{1,8}(?:\d\.\d{1,6}|nan)){4,}$|^(?:[\w ]{1,24} )?[Tt]ime: ?[\d.]+ ?s|^# +\$ conda (?:de)?activate"
    r"|^#\d+ (?:DONE|naming to|exporting)|^(?:Setting up|Processing triggers for) \S+ \("
)
"""How the end of a log reads where nothing failed."""
SUCCESS = re.compile(
    r"^Successfully (?:installed|built|tagged)|^Installed \d+ packages?|^done$|Saving checkpoint|^Audited \d"
    r"|^Submodule path '[^'\n]{1,300}': checked out|^HEAD is now at [0-9a-f]{7}|^Already up to date"
    r"|^Resolving deltas: 100%|^=+ \d+ passed|saved \[\d+(?:/\d+)?\]$|^Downloaded: \d+ files"
)
