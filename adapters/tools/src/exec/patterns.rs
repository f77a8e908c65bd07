//! The deny groups and what they match.

/// A group of commands that agents may not run unless it is switched off for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DenyGroup {
    /// The name that switches go by.
    pub name: &'static str,
    /// The label of the dashboard.
    pub description: &'static str,
}

/// All groups, in the order of the API. All are on by default.
pub const SHELL_DENY_GROUPS: &[DenyGroup] = &[
    DenyGroup { name: "destructive_ops", description: "Destructive Operations" },
    DenyGroup { name: "data_exfiltration", description: "Data Exfiltration" },
    DenyGroup { name: "reverse_shell", description: "Reverse Shell" },
    DenyGroup { name: "code_injection", description: "Code Injection & Eval" },
    DenyGroup { name: "privilege_escalation", description: "Privilege Escalation" },
    DenyGroup { name: "dangerous_paths", description: "Dangerous Path Operations" },
    DenyGroup { name: "env_injection", description: "Environment Variable Injection" },
    DenyGroup { name: "container_escape", description: "Container Escape" },
    DenyGroup { name: "crypto_mining", description: "Crypto Mining" },
    DenyGroup { name: "filter_bypass", description: "Filter Bypass (CVE mitigations)" },
    DenyGroup { name: "network_recon", description: "Network Reconnaissance & Tunneling" },
    DenyGroup { name: "package_install", description: "Package Installation" },
    DenyGroup { name: "persistence", description: "Persistence Mechanisms" },
    DenyGroup { name: "process_control", description: "Process Manipulation" },
    DenyGroup { name: "env_dump", description: "Environment Variable Dumping" },
];

/// `pattern` with its shorthands written out.
pub fn expanded(pattern: &str) -> String {
    pattern
        // The start of a word that is not part of an option: `--host` and `docker-mount` are other words.
        .replace("<word>", r"(?:^|[^\w-])")
        // The rest of one simple command; quoted text may hold what would end it.
        .replace("<args>", r#"(?:'[^']*'|"(?:[^"\\]|\\.)*"|\\.|>&|&>|[^;|&\n'"\\])*"#)
        // A shell, by name or path.
        .replace("<shell>", r"(?:\S*/)?(?:ba|da|z|k|a)?sh\b")
        // Where a command can begin.
        .replace("<start>", r"(?:^|[;&|\n(`{])\s*")
        // Where a command without arguments ends.
        .replace("<end>", r"\s*(?:$|[|>;&\n)`}])")
        // A start-up file of a shell, in any directory.
        .replace("<profile>", r#"["']?(?:\S*/)?\.(?:bashrc|bash_profile|profile|zshrc)\b"#)
}

/// The patterns of each group, in the order of [`SHELL_DENY_GROUPS`]; see [`expanded`] for the shorthands.
pub const PATTERNS_OF_GROUPS: [&[&str]; 15] = [
    // destructive_ops
    &[
        r"\brm\s(?:<args>\s)?-[A-Za-z]*[rRf]",
        r"\brm\s<args>--(?:r|f)[a-z]*\b",
        r"(?i)\bdel\s+/[fq]\b",
        r"(?i)\brmdir\s+/s\b",
        r"<word>(?:mkfs|diskpart)\b",
        r"<word>format\s",
        r"\bdd\s<args>\bif=",
        r">\s*/dev/(?:sd|hd|vd|xvd|nvme|mmcblk|disk)",
        r"<word>(?:shutdown|reboot|poweroff|halt)\b",
        r"\b(?:init|telinit)\s+[06]\b",
        r"\bsystemctl\s+(?:-\S+\s+)*(?:suspend|hibernate)\b",
        r":\s*\(\s*\)\s*\{[\s\S]*\}\s*;\s*:",
    ],
    // data_exfiltration
    &[
        r"(?s)\bcurl\b.*\|\s*<shell>",
        r#"\bcurl\b<args>\s["']?-(?:[A-Za-z#0]*[dFT]|-data|-form|-upload|-json)"#,
        r#"(?i)\bcurl\b<args>\s["']?(?-i:-[A-Za-z#0]*X|--request)[\s=]*["']?(?:PUT|POST|PATCH)\b"#,
        r"(?s)\bwget\b.*\|\s*<shell>",
        r#"\bwget\b<args>\s["']?--(?:post|body)-(?:data|file)"#,
        r#"(?i)\bwget\b<args>\s["']?--method[\s=]*["']?(?:PUT|POST|PATCH)\b"#,
        r"<word>(?:nslookup|dig|host)\b",
        r"/dev/(?:tcp|udp)/",
        r"(?i)\b(?:curl|wget)\b[^\n]*?(?:\blocalhost\b|\b127(?:\.\d{1,3}){1,3}\b|\b0\.0\.0\.0\b|\[[0:]*:(?:0*1)?\]|\[::ffff:127\.)",
    ],
    // reverse_shell
    &[
        r"<word>(?:nc|ncat|netcat)\s(?:<args>\s)?(?:-[a-z]|\d{1,3}(?:\.\d{1,3}){3}\b|localhost\b)",
        r"<word>socat\b",
        r"\bopenssl\b[^\n]*\bs_client\b",
        r"<word>telnet\b[^\n]*\d",
        r"(?s)\bpython[\d.]*\s.*-[A-Za-z]*c.*\b(?:import|from)\b.*\b(?:socket|http|urllib\d?|requests|httpx|aiohttp)\b",
        r"(?s)\bperl\b.*\s-[A-Za-z]*[eEM].*Socket",
        r"(?s)\bruby\b.*\s-[A-Za-z]*[er].*[Ss]ocket",
        r#"(?s)\bnode\b.*\s(?:-[a-z]*[ep]|--eval|--print).*(?:\bnet\.|\bhttps?\.|\bfetch\(|\baxios\b|\bgot\(|\bundici\b|require\(\s*["'`\\]*(?:node:)?(?:https?|net|axios|got|undici)\b)"#,
        r"(?s)\b[gmn]?awk\b.*/inet",
        r"<word>mkfifo\b",
    ],
    // code_injection
    &[r#"<word>eval\s+["']?[$`]"#, r"(?s)\bbase64\b.*(?:\s-[A-Za-z]*[dD]|\s--d(?:ecode)?).*\|\s*<shell>"],
    // privilege_escalation
    &[r"<word>(?:sudo|su|doas|pkexec|runuser|nsenter|unshare|mount|umount|capsh|setcap|getcap)\b"],
    // dangerous_paths
    &[
        r#"\bchmod\s+(?:-\S+\s+)*["']?[0-7]{3,4}["']?\s+(?:<args>\s)?["']?/"#,
        r#"\bchown\b<args>\s["']?/"#,
        r#"\bchmod\s<args>\+[A-Za-z]*x[A-Za-z]*["']?\s(?:<args>\s)?["']?(?:/tmp|/var/tmp|/dev/shm)\b"#,
    ],
    // env_injection
    &[
        r"\b(?:LD_PRELOAD|DYLD_INSERT_LIBRARIES|LD_LIBRARY_PATH|GIT_EXTERNAL_DIFF|GIT_DIFF_OPTS|BASH_ENV)\+?=",
        r"<word>ENV=<args>\s<shell>",
        r"/etc/ld\.so\.preload",
    ],
    // container_escape
    &[r"\bdocker\.sock(?:et)?\b", r"/proc/sys/(?:kernel|fs|net)/", r"/sys/(?:kernel|fs|class|devices)/"],
    // crypto_mining
    &[r"<word>(?:xmrig|cpuminer|minerd|cgminer|bfgminer|ethminer|nbminer|t-rex|phoenixminer|lolminer|gminer|claymore)\b", r"stratum\+(?:tcp|ssl)://"],
    // filter_bypass
    &[
        r#"\bsed\b[^\n]*["'][^"']*[/|#@][gpiIMm0-9]*e[gpiIMmw0-9]*\s*["']"#,
        r"\bsort\b[^\n]*--compress-prog",
        r"\bgit\b[^\n]*--(?:upload-pack|receive-pack|exec)=",
        r"\b(?:rg|grep)\b[^\n]*--pre[=\s]",
        r"<word>man\b[^\n]*--html=",
        r"<word>history\s+-[A-Za-z]*[saw]",
        r"\$\{[^}]*@[PpEeAaKk]\}",
    ],
    // network_recon
    &[r"<word>(?:nmap|masscan|zmap|rustscan)\b", r"<word>(?:ssh|scp|sftp)\s[^\n]*@", r"<word>(?:chisel|frp[cs]?|ngrok|cloudflared|bore|localtunnel)\b"],
    // package_install
    &[
        r"\bpip[\d.]*\s+(?:-\S+\s+)*(?:install|uninstall|download)\b",
        r"\bpython[\d.]*\s+(?:-\S+\s+)*-[A-Za-z]*m\s*pip\b",
        r"\bpipx\s+(?:-\S+\s+)*(?:install|inject|run|upgrade|uninstall)\b",
        r"\buv\s+(?:-\S+\s+)*(?:(?:pip|tool)\s+)?(?:install|add|sync|remove|uninstall)\b",
        r"<word>uvx\s",
        r"\bnpm\s+(?:-\S+\s+)*(?:install|i|ci|add|uninstall)\b",
        r"\bpnpm\s+(?:-\S+\s+)*(?:install|i|add)\b",
        r"\byarn\s+(?:-\S+\s+)*(?:add|global)\b",
        r"\bapk\s+(?:-\S+\s+)*(?:add|del)\b",
        r"<word>doas\s+apk\b",
        r"<word>(?:apt|apt-get|aptitude|dnf|microdnf|yum|zypper|brew|port)\s+(?:-\S+\s+)*(?:install|reinstall|remove|uninstall|purge|upgrade)\b",
        r"<word>(?:apt|apt-get)\s<args>\binstall\b",
    ],
    // persistence
    &[r"<word>crontab\b", r">\|?\s*<profile>", r"\btee\s(?:<args>\s)?<profile>"],
    // process_control
    &[r"<word>kill\s+(?:<args>\s)?-(?:9|[sn]\s*(?:9|(?i:(?:SIG)?KILL))|(?i:(?:SIG)?KILL))\b", r"<word>(?:killall|pkill)\b"],
    // env_dump
    &[
        r"<start>(?:\S*/)?env(?:\s+-\S+)*<end>",
        r"<word>printenv\b",
        r"<start>(?:set|export(?:\s+-p)?|declare\s+-[xp]+)<end>",
        r"\bcompgen\s+-[A-Za-z]*e",
        r"/proc/\S*environ\b",
        r"(?i)\bstrings\b[^\n]*/proc/",
        r"(?i)\b(?:echo|printf)\b[^\n]*GOCLAW_(?:GATEWAY_TOKEN|ENCRYPTION_KEY|POSTGRES_DSN)",
        r"(?s)\bpython[\d.]*\b.*(?:environ|getenv).*GOCLAW_",
        r"(?s)\bnode\b.*process\.env\W+GOCLAW_",
    ],
];
