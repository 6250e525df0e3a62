package main

// kinds are all programs that are tried, in the order of the document. What is declared in one
// list shares a template, so a list has what is installed within a few minutes.
var kinds = []kind{
	{name: "Base template", programs: baseTemplate},
	{name: "Terminals and debuggers", programs: terminals},
	{name: "Databases", programs: databases},
	{name: "Compiled languages", programs: compiled},
	{name: "Interpreted languages", programs: interpreted},
	{name: "Package managers", programs: packageManagers},
	{name: "Web servers", programs: webServers},
	{name: "Documents and data", programs: documents},
	{name: "Browsers", programs: browsers},
	{name: "Agents", programs: agents},
	{name: "Clients with transforms", programs: clients, network: transformed, arrange: vouch},
}
