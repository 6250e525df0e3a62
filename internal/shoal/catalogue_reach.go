package shoal

// Network.
var (
	ErrNetworkPolicy = kind("network.policy", 400,
		"An egress rule is not an IP address, a CIDR or an allowed domain, or there are more than 10,000 rules.",
		"Correct the entry that the message names; write adjacent addresses as one CIDR.")
	ErrNetworkExhausted = kind("network.exhausted", 503,
		"Every network slot of the machine is in use.",
		"Kill sandboxes, or widen host-cidr and veth-cidr.")
	ErrNetworkSetup = kind("network.setup", 500,
		"The host's kernel refused a namespace, link, address or nftables rule.",
		"Run `shoal doctor`; it checks namespaces, nftables and overlapping routes.")
	ErrNetworkRanges = kind("network.ranges", 500,
		"Something else on the host, such as another installation of Shoal, has addresses of the ranges for sandboxes.",
		"Set host-cidr and veth-cidr to ranges that the host does not use.")
	ErrNetworkState = kind("network.state", 500,
		"The file with the host's network settings from before Shoal cannot be read.",
		"Set net.ipv4.ip_forward as the host needs it; the file is removed, and the next start writes it anew.")
	ErrOutboundRefused = kind("outbound.refused", 400,
		"Shoal connects to no address of its machine, of a private network or of a cloud's metadata on a client's "+
			"word, whether a name, a redirect or a login server leads there.",
		"Name a server on the internet, or have the operator allow the server by --outbound-allow; Shoal's log "+
			"names what was refused.")
)

// Volumes.
var (
	ErrVolumeName = kind("volume.name", 400,
		"The name of a volume has 1 to 250 letters, digits, hyphens and underscores.",
		"Choose another name.")
	ErrVolumeExists = kind("volume.exists", 400,
		"The team has a volume of this name.",
		"Use it, or choose another name. `GET /volumes` lists the team's volumes.")
	ErrVolumeID = kind("volume.id", 400,
		"What the path names is not the ID of a volume.",
		"Take the ID from `GET /volumes`.")
	ErrVolumeNotFound = kind("volume.not_found", 404,
		"The team has no volume of this ID.",
		"List the team's volumes with `GET /volumes`.")
	ErrVolumeLimit = kind("volume.limit", 429,
		"The team has as many volumes as it may.",
		"Delete one that nothing needs, or have the operator allow more by `shoal team limits --max-volumes`.")
	ErrVolumeMounts = kind("volume.mounts", 400,
		"A volume that the sandbox is to have does not exist, or cannot be mounted at its path.",
		"Correct what the message names: paths are absolute, without . and .., and each is used once.")
	ErrVolumeMountsOff = kind("volume.mounts_off", 400,
		"The operator has switched volumes off, for the installation or for the team.",
		"Leave volumeMounts out, or ask the operator for volumes: `shoal switch on volumes`.")
	ErrVolumeRuntime = kind("volume.runtime", 400,
		"The template needs a runtime whose guests have no volumes, or is a snapshot of a sandbox that ran under it.",
		"Take another template, or build it without \"required\": then its sandboxes with volumes run under gVisor.")
	ErrVolumeUnavailable = kind("volume.unavailable", 503,
		"The file system that the volume lies in does not answer, or the machine does not have it.",
		"Repeat later. The operator finds in the log which file system it is; the setting volumes names them all.")
)

// Secrets and identities of sandboxes.
var (
	ErrSecret = kind("secret.invalid", 400,
		"The secret's name, value or metadata is not what a secret can have.",
		"A name has 1 to 128 of A-Z, a-z, 0-9, _ and -, and does not begin with sec_; a value 1 to 65536 bytes of text; "+
			"metadata up to 32 entries and 8192 bytes.")
	ErrSecretNotFound = kind("secret.not_found", 404,
		"The team has no secret of this ID or name.",
		"List the team's secrets with `GET /secrets`.")
	ErrSecretExists = kind("secret.exists", 409,
		"The team has a secret of this name.",
		"Give it a new value by `POST /secrets/{secretID}`, or choose another name.")
	ErrSecretLimit = kind("secret_limit_reached", 429,
		"The team has as many secrets as it may.",
		"Delete one that nothing needs, or have the operator raise the limit secrets of the team.")
	ErrSecretTime = kind("secret.time", 504,
		"The database, or the program of seal-command, did not answer within 25 s.",
		"Look by a get whether the secret was changed before you repeat the request.")
	ErrSealCommand = kind("seal.command", 502,
		"The program that wraps the keys of sealed values (seal-command) has failed or did not answer in time.",
		"Run the program as the setting seal-command names it; Shoal's log has what it wrote to its standard error.")
	ErrFillRefused = kind("fill.refused", 403,
		"A header of a transform names a secret or a workload token that the sandbox cannot have.",
		"Make the secret, name it in the rule of that domain, and have the operator switch secrets and workload-tokens on.")
	ErrFillUnavailable = kind("fill.unavailable", 503,
		"No api answers the sandbox's machine, so headers with secrets and workload tokens cannot be filled in.",
		"Repeat the request; the machine asks again as soon as an api has connected to it.")
)

// ErrEgressEncrypted stands in the records of connections, which get no answer themselves.
var ErrEgressEncrypted = kind("egress.encrypted", 403,
	"TLS to a domain that is allowed was refused, because it may hide another name for the server (Encrypted "+
		"ClientHello). Chromium and Firefox send what cannot be told from that with every connection.",
	"Switch it off: for Chromium and Chrome by the policy EncryptedClientHelloEnabled, false, in a file of "+
		"/etc/chromium/policies/managed or /etc/opt/chrome/policies/managed; for Firefox by network.dns.echconfig.enabled, "+
		"false, and security.tls.ech.grease_probability, 0. Or allow the server's address.")

// Transforms of requests that leave a sandbox. Its programs get these as answers, but for the ones of
// connections that end before there is a request: those are recorded.
var (
	ErrTransformMisdirected = kind("transform.misdirected", 421,
		"A request on a connection to a domain with a transform is for another host than the connection.",
		"Open a connection for each host, with the host's name in TLS (SNI) and in the request.")
	ErrTransformMethod = kind("transform.method", 405,
		"CONNECT opens tunnels and TRACE returns what was sent, so neither goes to a domain with a transform.",
		"Use another method, or take the domain out of the rules.")
	ErrTransformFill = kind("transform.fill", 502,
		"The secret or workload token that a header has a placeholder for cannot be had, or cannot be in a header.",
		"Check that the secret exists and that its value has no line breaks; if it does, repeat the request shortly.")
	ErrTransformCertificate = kind("transform.certificate", 502,
		"The server's certificate is not valid for its name, or of an authority that the installation does not trust.",
		"Mend the server's certificate, or ask the operator to trust its authority.")
	ErrTransformServer = kind("transform.server", 502,
		"The server of a domain with a transform cannot be reached, or has ended the connection without an answer.",
		"Check the server and its port; the sandbox's network rules hold for it, too.")
	ErrTransformProtocol = kind("transform.protocol", 421,
		"A connection to a domain with a transform is for a protocol other than HTTP/1.1 and HTTP/2.",
		"Use one of those, or take the domain out of the rules.")
	ErrTransformPinned = kind("transform.pinned", 502,
		"The client has refused the certificate that stands for the server: it trusts only certain ones, or has a "+
			"trust store of its own that lacks the sandbox's authority.",
		"Have the client trust the system's store (/etc/ssl/certs/ca-certificates.crt), or take the domain out of "+
			"the rules.")
)
