package boot

// GuestCgroup is the path of the cgroup that all of a guest's processes begin in. They see it in
// /proc/self/cgroup; the container's ID, which upstream names it by, tells how the guest was
// started.
const GuestCgroup = "/sandbox"
