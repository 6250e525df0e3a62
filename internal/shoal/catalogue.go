package shoal

//go:generate env UPDATE_ERRORS=1 go test -run TestErrorsPage .

// Catalogue lists every error kind, in the order of docs/errors.md, which is
// generated from it.
var Catalogue []*Kind

func kind(code string, status int, cause, fix string) *Kind {
	k := &Kind{Code: code, Status: status, Cause: cause, Fix: fix}
	Catalogue = append(Catalogue, k)
	return k
}

// Requests.
var (
	ErrBadRequest = kind("request.invalid", 400,
		"The request does not have the shape or the values that this endpoint takes.",
		"Correct what the message names; the API reference lists types and ranges.")
	ErrInvalidSandboxID = kind("request.sandbox_id", 400,
		"A sandbox ID has only lower-case letters and digits, with at most one dash before the legacy client ID.",
		"Use the sandboxID that create or list returned.")
	ErrRouteNotFound = kind("request.route", 404,
		"No endpoint has this path and method.",
		"Check the base URL (E2B_API_URL) for an extra path or a missing version prefix.")
	ErrMethod = kind("request.method", 405,
		"The endpoint exists, but not with this method.",
		"The Allow header lists the methods that it takes.")
	ErrOrigin = kind("request.origin", 403,
		"A web page, or a host name, that the installation does not allow was used to call the API.",
		"Name its origin in allowed-origins; with --dev, call localhost.")
	ErrBodyTooLarge = kind("request.too_large", 413,
		"The request body is larger than this endpoint takes: 16 MiB to start a template's build, 1 MiB elsewhere.",
		"Send less; files go to the sandbox, not to the API.")
	ErrRequestTime = kind("request.time", 504,
		"The request was not done within its time, 70 s; what a machine had begun for it goes on.",
		"Look by a get or list at what has become of it before you repeat it; a machine that is this slow has too much to do.")
	ErrNotImplemented = kind("request.not_implemented", 501,
		"This version of Shoal does not have the feature.",
		"Do without it. CHANGELOG names what each version brings.")
	ErrFeatureOption = kind("request.feature_option", 400,
		"The operator has switched off the feature that the option asks for, or this version of Shoal does not have it.",
		"Leave the option out, or ask the operator for the feature: `shoal switch list` names those there are.")
	ErrFeatureForbidden = kind("request.feature_forbidden", 403,
		"The operator has switched off the feature, or this version of Shoal does not have it.",
		"Do without it, or ask the operator for the feature: `shoal switch list` names those there are.")
)

// Authentication.
var (
	ErrUnauthorized = kind("auth.unauthorized", 401,
		"The credential is missing, malformed, or not known to this installation.",
		"Export E2B_API_KEY as `shoal up` printed it, or make a key with `shoal key create`.")
	ErrKeyExpired = kind("auth.key_expired", 401,
		"The API key was made to be valid until a time that has passed.",
		"Make a new key with `shoal key create`, or have an admin of the team make one.")
	ErrForbidden = kind("auth.forbidden", 403,
		"The key is valid but its team may not do this.",
		"Use a key of the owning team, or ask the operator to lift the block.")
	ErrScope = kind("auth.scope", 403,
		"The API key was made for some things only, and this is none of them.",
		"Use another key of the team; `shoal key list` and `GET /api-keys` show the scopes of each.")
	ErrRole = kind("auth.role", 403,
		"The user's role in the team does not allow this.",
		"Ask somebody with a higher role, or the operator to change yours by `shoal team admit`.")
	ErrNotMember = kind("auth.not_member", 403,
		"The user of the access token is not a member of the team.",
		"Name a team that `GET /teams` lists, or ask the operator to add you by `shoal team admit`.")
	ErrNoDefaultTeam = kind("auth.no_default_team", 500,
		"The user of the access token is a member of no team, so none can be meant.",
		"Ask the operator to add you to a team by `shoal team admit`.")
	ErrTeamNotFound = kind("auth.team_not_found", 404,
		"No team of this installation has the ID in X-Team-ID or in the path.",
		"List the teams with `shoal team list`.")
)

// Features that an operator may switch off.
var (
	ErrSwitchedOff = kind("feature.switched_off", 403,
		"The operator has switched the feature off, for the installation or for the team.",
		"Do without it, or ask the operator for it: `shoal switch on NAME`, with --team=SLUG for one team. "+
			"What the setting switch-off names is off until it is named there no more.")
	ErrSwitchedOffOption = kind("feature.switched_off_option", 400,
		"The operator has switched off the feature that the option asks for, for the installation or for the team.",
		"Leave the option out, or ask the operator for it: `shoal switch on NAME`, with --team=SLUG for one team.")
	ErrSwitchNotFound = kind("switch.not_found", 404,
		"No switch has this name.",
		"List the switches with `shoal switch list` or `GET /admin/switches`.")
	ErrSwitchFixed = kind("switch.fixed", 409,
		"The configuration has the feature off, which counts more than what is switched while Shoal runs.",
		"Take the feature out of the setting switch-off, and start Shoal again.")
)

// Tiers.
var (
	ErrTierNotFound = kind("tier.not_found", 404,
		"No tier has this name.",
		"List the tiers with `shoal tier list` or `GET /admin/tiers`.")
	ErrTierExists = kind("tier.exists", 409,
		"There is a tier of this name already.",
		"Change it with `shoal tier change` or `PATCH /admin/tiers/{tierName}`, or take another name.")
	ErrTierInUse = kind("tier.in_use", 409,
		"Teams are in the tier, or it is the default one, which new teams are in.",
		"Put its teams into another tier first: `shoal team list` shows whose it is, `shoal team limits SLUG --tier=NAME` changes it.")
)

// Sign-in by a password.
var (
	ErrSignIn = kind("sign_in.refused", 401,
		"The address or the password is not right, or the account has no password.",
		"Try again, or ask the operator for a new link by `shoal user invite`.")
	ErrSignInTries = kind("sign_in.tries", 429,
		"There were many wrong passwords for the account, or from this address.",
		"Wait for as long as the message says.")
	ErrSignInBusy = kind("sign_in.busy", 503,
		"Many passwords are being checked at once, which takes memory and time on purpose.",
		"Try again in a few seconds.")
	ErrSignInLink = kind("sign_in.link", 403,
		"The link has been used, has ended, or never was one.",
		"Ask the operator for a new one: `shoal user invite`, or the next start of `shoal up` for the first person.")
	ErrSignInPage = kind("sign_in.page", 403,
		"The form was sent by a page of another site, or by one that was open for longer than the session.",
		"Open the page again, and send the form from there.")
	ErrSignInStranger = kind("sign_in.stranger", 403,
		"The issuer vouches for somebody who is no user of this installation.",
		"Ask the operator to run the command in the message, or to name one of your groups in sign-in-groups.")
	ErrSignInIssuer = kind("sign_in.issuer", 502,
		"The issuer refused, or could not be asked who has signed in.",
		"Try again; the operator finds the reason in the log by the request ID.")
	ErrPassword = kind("sign_in.password", 400,
		"A password has 12 to 256 bytes, and is neither the address nor one character again and again.",
		"Choose another one; several words are good.")
)

// API keys and access tokens.
var (
	ErrKeyNotFound = kind("key.not_found", 404,
		"The team has no API key of this ID.",
		"List the keys with `GET /api-keys` or `shoal key list`.")
	ErrKeyLimit = kind("key.limit", 429,
		"The team has as many API keys as it may.",
		"Remove keys that nothing uses; `shoal key list` shows when each was last used.")
	ErrServiceAccountNotFound = kind("service_account.not_found", 404,
		"The team has no service account of this ID.",
		"List them with `GET /service-accounts` or `shoal service list`.")
	ErrServiceAccountExists = kind("service_account.exists", 409,
		"The team has a service account of this name, or somebody has its address.",
		"Choose another name, or use the one that is there.")
	ErrServiceAccountLimit = kind("service_account.limit", 429,
		"The team has as many service accounts as it may.",
		"Remove those that nothing uses.")
	ErrTokenNotFound = kind("access_token.not_found", 404,
		"The user has no access token of this ID.",
		"Use the ID that `POST /access-tokens` returned; `shoal user token list` shows all.")
	ErrTokenLimit = kind("access_token.limit", 429,
		"The user has as many access tokens as they may.",
		"Remove some with `DELETE /access-tokens/{id}` or `shoal user token rm`.")
	ErrTokensClosed = kind("access_token.closed", 410,
		"The operator has ended the making of access tokens by the setting access-tokens.",
		"Use an API key (E2B_API_KEY).")
)

// Sandboxes.
var (
	ErrSandboxNotFound = kind("sandbox.not_found", 404,
		"The sandbox was killed, timed out, never existed or belongs to another team.",
		"List sandboxes to see what lives; raise the timeout if it ended too early.")
	// 404, as the contract has it: SDKs tell the caller that the sandbox does not run.
	ErrSandboxNotRunning = kind("sandbox.not_running", 404,
		"The sandbox is paused, or on its way back from a pause; the request is for running ones.",
		"Connect to it first, which resumes it, then repeat.")
	ErrSandboxState = kind("sandbox.state", 409,
		"The sandbox is in a state, or on the way to one, that excludes this request.",
		"Wait for the transition to finish, then repeat.")
	ErrSandboxPaused = kind("sandbox.paused", 409,
		"The sandbox is paused already.",
		"There is nothing left to pause; to fork it, connect to it first, which resumes it.")
	ErrSandboxRunning = kind("sandbox.running", 409,
		"The sandbox runs already.",
		"Use it, or extend its time with connect.")
	ErrSandboxUnreachable = kind("sandbox.unreachable", 503,
		"The machine's orchestrator has begun anew and cannot take over the sandbox yet, which lives on; it tries "+
			"again every few seconds.",
		"Repeat the request shortly. If it lasts, the orchestrator's log has the reason, and the sandbox can be killed.")
	ErrStartInFlight = kind("sandbox_start_in_flight", 409,
		"Another request is starting the sandbox with its memory, so it cannot be booted without.",
		"Wait until it runs; pause it again to boot it from its disk.")
	ErrDaemonSilent = kind("sandbox.daemon_silent", 503,
		"The sandbox's daemon does not answer, so what it was to do before the pause is not done; the sandbox runs on.",
		"Pause it with its memory and without requireHealthyGuest (strict), or kill it; a process may have stopped the daemon or have taken all memory.")
	ErrSnapshotSilent = kind("sandbox_snapshot_guest_agent_unresponsive", 409,
		"The sandbox's daemon did not answer when it was paused, and would not answer if its memory came back.",
		"Boot it from its disk: connect with memory set to false (on_resume=\"reboot\").")
	ErrResumeTimeout = kind("sandbox.resume_timeout", 504,
		"The sandbox is not back yet; its machine goes on with it.",
		"Connect again after a while, or boot it from its disk: connect with memory set to false.")
	ErrPauseFailed = kind("sandbox.pause_failed", 500,
		"The sandbox could not be kept on disk; it was not stopped and runs on.",
		"Often the disk is full, or a process holds a device that cannot be saved; the operator finds the step in the log by the request ID.")
	ErrSnapshotFailed = kind("snapshot.failed", 500,
		"The sandbox's memory and disk could not be written; the sandbox goes on.",
		"Often the disk is full, or a process holds a device that cannot be saved; the operator finds the step in the log by the request ID.")
	ErrSnapshotMissing = kind("snapshot.missing", 500,
		"The data of this snapshot or paused sandbox is not on the machine.",
		"Make the snapshot again; a paused sandbox without its data can only be killed.")
	ErrSnapshotDamaged = kind("snapshot.damaged", 500,
		"The data of this snapshot or paused sandbox is not what was stored.",
		"Check the disk; make the snapshot again. Other sandboxes are not affected.")
	ErrIdempotencyMismatch = kind("idempotency_request_mismatch", 422,
		"The team has used the idempotency key for a create with another body within the last 24 hours.",
		"Use a new key for another sandbox, and the same body with the same key.")
	ErrIdempotencyInProgress = kind("idempotency_in_progress", 409,
		"Another create with the same idempotency key is still under way.",
		"Repeat the request after a second; it has the answer of the first one.")
	ErrIdempotencyUnknown = kind("idempotency_outcome_unknown", 409,
		"The API ended during a create with this idempotency key, and a machine that may have the sandbox does not answer.",
		"Repeat the request when all machines answer; or list the sandboxes, and create one with a new key.")
	ErrConcurrencyLimit = kind("sandbox.concurrency_limit", 429,
		"The team runs as many sandboxes as it may at once.",
		"Kill or pause some, or have the operator raise the limit by `shoal team limits`.")
	ErrSandboxLimit = kind("sandbox.total_limit", 429,
		"The team has as many sandboxes as it may, running and paused.",
		"Kill some, or have the operator raise the limit by `shoal team limits`.")
)

// Placement. The message prefix "Failed to place sandbox" is matched by clients.
var (
	ErrCapacity = kind("sandbox_capacity_unavailable", 503,
		"No machine has room for the requested CPU, memory or slot.",
		"Retry shortly, kill sandboxes, or add a machine; `shoal doctor` shows what is short.")
	ErrNoNode = kind("sandbox_no_compatible_node", 503,
		"No connected machine can run this template.",
		"Start an orchestrator that has the template, and check that the api reaches it.")
	ErrPlacementTimeout = kind("sandbox_placement_timeout", 504,
		"No machine finished the start within the request's time.",
		"Retry; if it repeats, the phase timers in the orchestrator's log name the slow phase.")
	ErrCreateFailed = kind("sandbox_create_failed", 500,
		"The machine tried to start the guest and failed.",
		"Run `shoal doctor` on the machine; the orchestrator's log names the phase by the request ID.")
	ErrEnvdTimeout = kind("sandbox.envd_timeout", 500,
		"The guest started but its daemon did not answer in time.",
		"The image may lack envd or be too large for the memory limit; the orchestrator's log has the guest's last console lines.")
	ErrEnvdAnswer = kind("sandbox.envd_answer", 500,
		"The daemon in the guest answered what no daemon of Shoal's answers: a redirect, a compressed or endless body, or more than its bound. Something in the sandbox or its template has taken its place.",
		"Leave /usr/bin/envd and port 49983 to the daemon; build the template anew without what replaces them.")
	ErrLogRate = kind("sandbox.log_rate", 429,
		"The sandbox reports more lines for its log than it may: 4 MiB at once and 8 KiB a second, where a line counts 256 bytes besides its own.",
		"Report less, or later; keep what is much in files of the sandbox.")
	ErrLogReport = kind("sandbox.log_report", 413,
		"The report of log lines has more than 1 MiB or more than 10,000 lines.",
		"Split it.")
	ErrNodeNotFound = kind("node.not_found", 404,
		"No machine of this installation has the ID.",
		"List the machines with `GET /nodes`.")
	ErrNodeUnreachable = kind("node.unreachable", 503,
		"The orchestrator of this machine does not answer.",
		"Start it, and check the address and the shared secret.")
)

// Templates.
var (
	ErrTemplateNotFound = kind("template.not_found", 404,
		"No template of this name or ID is visible to the team, or the tag has no ready build.",
		"Check the spelling with `GET /templates`, or build the template first.")
	// 404, as for any name that has no ready build yet: nothing is too busy, and a
	// client that asks again at once gains nothing.
	ErrTemplateFirstBuild = kind("template.first_build", 404,
		"The template ships with Shoal and is built when it is first asked for, which takes minutes.",
		"Create the sandbox again when the build is ready; `shoal template build NAME` shows its log and waits for it.")
	ErrTemplateNotBuilt = kind("template.not_built", 404,
		"The template ships with Shoal, but has not been built on this installation.",
		"Build it with `shoal template build NAME`, where NAME is the template's.")
	ErrTemplateForbidden = kind("template.forbidden", 403,
		"The template belongs to another team.",
		"Use a key of the owning team.")
	ErrTemplateInstallation = kind("template.installation", 403,
		"The template belongs to the installation: sandboxes that name no template begin with it.",
		"Leave it as it is, and build a template of another name for what shall be changed or hidden.")
	ErrTemplateReference = kind("template.reference", 400,
		"A template reference is [namespace/]name[:tag] in lower-case letters, digits, - and _.",
		"Correct the reference.")
	ErrTemplateInUse = kind("template.in_use", 400,
		"Sandboxes made from the template are alive.",
		"Kill them, then delete the template.")
	ErrTemplateNameTaken = kind("template.name_taken", 409,
		"Another template has this name, or has it as its ID.",
		"Choose another name.")
	ErrTemplateBareName = kind("template.bare_name", 403,
		"The name without a namespace belongs to a template that ships with Shoal, or that E2B has; only the operator's team can give it.",
		"Use the name with the team's namespace, as the message says, or choose another.")
	ErrTemplatePublish = kind("template.publish", 403,
		"The operator has not given the team the right to show templates to other teams.",
		"Ask the operator to run `shoal team publish SLUG`; the team itself can use the template as it is.")
	ErrBuildNotFound = kind("build.not_found", 404,
		"The template has no build of this ID.",
		"Register a build with `POST /v3/templates`, and use the IDs that it returned.")
	ErrBuildRequest = kind("build.invalid", 400,
		"The build's ID, its state, or what it shall be made from is not what this endpoint takes.",
		"Correct what the message names; each registered build can be started once.")
	ErrBuildLimit = kind("build.concurrency_limit", 429,
		"The team has as many builds waiting or under way as it may.",
		"Wait for some to end, or have the operator raise the limit by `shoal team limits`.")
	ErrTemplateLimit = kind("template.limit", 429,
		"The team has as many templates as it may.",
		"Delete one that nothing needs, or have the operator raise the limit templates by `shoal team limits`.")
	ErrKeptLimit = kind("template.kept_limit", 429,
		"The team keeps as many templates, or builds and snapshots of them, as it may.",
		"Delete some, or have the operator raise the limit by `shoal team limits`.")
	ErrTagLimit = kind("template.tag_limit", 429,
		"The template has as many assignments of tags to builds as it may.",
		"Remove tags that nothing needs, or delete the template and build it again.")
	ErrBuildLegacy = kind("build.legacy", 410,
		"This client builds templates by pushing to a Docker registry, which no longer exists.",
		"Update the SDK or CLI, and build with `Template.build` or `e2b template create`.")
	ErrUploadLink = kind("upload.link", 403,
		"The upload link is older than 30 minutes, or was changed.",
		"Ask for a new one with `GET /templates/{id}/files/{hash}`.")
	ErrUploadTooLarge = kind("upload.too_large", 413,
		"The uploaded files are larger than upload-limit allows.",
		"Leave files out with fileIgnorePatterns or .dockerignore, or raise upload-limit.")
	ErrUploadBroken = kind("upload.broken", 400,
		"The connection ended or stalled before all of the files had arrived.",
		"Repeat the build; nothing was kept of the broken upload.")
	ErrImageMissing = kind("image.missing", 500,
		"The root image of this build is not on the machine.",
		"Rebuild the template; for `base`, restart shoal, which rebuilds it.")
	ErrImageBuild = kind("image.build_failed", 500,
		"The base image could not be made from Debian packages.",
		"The cause has the last output lines; check that the package mirror is reachable and trusted.")
)

// Teams.
var (
	ErrRequestRate = kind("team.request_rate", 429,
		"The team, or a user who acts for none, calls the API more often than it may.",
		"Wait as long as the Retry-After header says, and call less often: RateLimit-Remaining says how much is left. "+
			"The operator can raise the limit by `shoal team limits`.")
	ErrCreateRate = kind("team.create_rate", 429,
		"The team starts sandboxes faster than it may: creates, copies of a fork, and those that it resumes. Nothing was started.",
		"Wait as long as the Retry-After header says, or have the operator raise the limit by `shoal team limits`.")
	ErrSourceRate = kind("request.source_rate", 429,
		"Many requests without a valid key or token came from this address.",
		"Correct the key, and wait as long as the Retry-After header says. Keys that were valid before go on.")
	ErrStorageLimit = kind("team.storage_limit", 429,
		"The team's paused sandboxes, snapshots, template builds and uploaded files take as much storage as they "+
			"may. Nothing was saved; a sandbox that runs goes on.",
		"Delete snapshots or templates, kill paused sandboxes, or have the operator raise the limit by "+
			"`shoal team limits`.")
)

// Events and webhooks.
var (
	ErrWebhook = kind("webhook.invalid", 400,
		"The webhook's name, URL, secret or list of events is not what a webhook can have.",
		"Correct what the message names.")
	ErrWebhookNotFound = kind("webhook.not_found", 404,
		"The team has no webhook, or the webhook no delivery, of this ID; deliveries are kept for seven days.",
		"List the team's webhooks with `GET /events/webhooks`.")
	ErrWebhookLimit = kind("webhook.limit", 429,
		"The team has as many webhooks as it may.",
		"Delete one that nothing needs, or have one of them receive more types of events.")
	ErrSealed = kind("webhook.sealed", 500,
		"A value in the database, such as the secret of a webhook, is sealed by another key than this process has.",
		"Set seal-secret to what it was, or that of the other apis: secrets/seal-secret of the data directory has it. If "+
			"it is lost, remove what it has sealed by `shoal webhook rm` and `shoal secret rm`, and make it anew.")
	ErrWebhookDisabled = kind("webhook.disabled", 409,
		"The webhook is disabled, and nothing is sent to it.",
		"Enable it with `PATCH /events/webhooks/{webhookID}`, then repeat.")
	ErrEventGone = kind("event.gone", 410,
		"The event is older than the team's events are kept, so it cannot be sent again.",
		"Have the operator keep the team's events longer by `shoal team limits`.")
)

// Traffic to sandboxes.
var (
	ErrSandboxRequests = kind("connection_limit", 429,
		"As many requests to the sandbox are open as may be, streams and WebSockets among them.",
		"Close some; a request for a file counts as 8.")
	ErrTeamRequests = kind("proxy.team_requests", 429,
		"As many requests to sandboxes of the team are open as may be; fewer while other teams have many open.",
		"Close some, or repeat the request shortly.")
	ErrLookupLimit = kind("proxy.lookup_limit", 429,
		"Many requests from this address name sandboxes that do not exist, or have signatures that no sandbox made.",
		"Correct the sandbox ID or the signed URL; requests to sandboxes that exist go on.")
	ErrProxyBusy = kind("proxy.busy", 503,
		"As many requests to all sandboxes are open as the proxy takes, or as it has connections for.",
		"Repeat the request shortly; `shoal doctor` tells the operator whether more open files would help.")
)

// Collection of garbage, of which only operators hear.
var (
	ErrForeignStore = kind("garbage.foreign", 409,
		"The snapshots and templates on the machine belong to another installation than the database by which "+
			"garbage was to be collected, so nothing was removed.",
		"Correct the database, data-dir, artifact-dir, node-id or nodes setting that leads to the wrong one. Only if "+
			"this database is the right one, as after the loss of the old one, run `shoal gc --adopt`.")
	ErrSuspiciousStore = kind("garbage.suspicious", 409,
		"The database has never heard of most of the snapshots and templates on the machine, so it is likely "+
			"empty, another one or an old backup, and nothing was removed.",
		"Check the database setting, or restore a newer backup. Only if they are to go, run `shoal gc --adopt`.")
)

// The database and its backups, of which only operators hear.
var (
	ErrDatabaseUnreachable = kind("database.unreachable", 503,
		"No server answers at the address of the database, it refuses the user or password, there is no database of "+
			"the name, or the file is none.",
		"Run `shoal doctor`; correct the setting database, or start the server.")
	ErrDatabaseMissing = kind("database.missing", 404,
		"The database is to be looked at or backed up, and does not exist or is empty.",
		"Correct the setting database or data-dir; a start of the api makes a new database.")
	ErrDatabaseSchema = kind("database.schema", 500,
		"Somebody has altered a table, a migration is marked as done and is not, or a restore was partial.",
		"See `shoal migrate verify`; undo the change, or restore a backup into an empty database.")
	ErrDatabaseNewer = kind("database.newer", 500,
		"A later version of Shoal has migrated the database.",
		"Start the version that did, or a later one; or restore a backup of before.")
	ErrDatabaseNotEmpty = kind("database.not_empty", 409,
		"A backup is restored into a database without records only, and with no later schema.",
		"Name another database, or empty this one yourself if it is to go.")
	ErrBackup = kind("backup.invalid", 400,
		"The file is no backup of Shoal, or not all of one: it was cut off or has changed since.",
		"Take another copy, or another backup; nothing was restored.")
	ErrBackupNewer = kind("backup.newer", 400,
		"A later version of Shoal has made the backup.",
		"Restore it by the version that made it, or a later one.")
	ErrBackupExists = kind("backup.exists", 409,
		"A backup never replaces a file.",
		"Name another file, or remove this one.")
)

// Everything that has no better name.
var (
	ErrInternal = kind("internal_server_error", 500,
		"Something failed that should not.",
		"Look up the request ID in the logs, which say what failed, and report it.")
	ErrUnavailable = kind("service.unavailable", 503,
		"The service is starting, stopping, or has no machine.",
		"Wait for /health to answer 200.")
	ErrStoreAway = kind("service.store_away", 503,
		"The service cannot read its records for now. Sandboxes go on; nothing was changed.",
		"Repeat the request in a moment. Operators: see `shoal doctor`, database.")
	ErrStoreLost = kind("service.store_lost", 500,
		"The service lost its records while it carried out the request, which may be done or not.",
		"See whether it is done before you repeat it. Operators: see `shoal doctor`, database.")
)
