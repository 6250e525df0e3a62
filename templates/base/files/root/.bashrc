# Read by login shells (through /etc/profile) and by interactive ones.
case $- in
  *i*) ;;
  *) return ;;
esac
HISTCONTROL=ignoreboth
shopt -s histappend checkwinsize
PS1='\w \$ '
alias ls='ls --color=auto'
alias ll='ls -l'
