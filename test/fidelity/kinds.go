package main

// kinds are all programs that are tried, in the order of the document. What is declared in one
// list shares a template, so a list has what is installed within a few minutes.
var kinds = []kind{
	{"Base template", baseTemplate},
	{"Terminals and debuggers", terminals},
	{"Databases", databases},
	{"Compiled languages", compiled},
	{"Interpreted languages", interpreted},
	{"Package managers", packageManagers},
	{"Web servers", webServers},
	{"Documents and data", documents},
	{"Browsers", browsers},
	{"Agents", agents},
}
