# Guards one server: kills it and removes its folder when the process that
# started it has gone. Run as: sh -c guard.sh freshet-guard FOLDER
#
# Standard input is a pipe that only that process holds open for writing. Each
# line is the id of the server's present process, or 0 while there is none.
# The end of input means the process has closed the server or has died.
trap '' HUP INT TERM
folder=$1
pid=0
while read -r line; do pid=$line; done

if [ "$pid" -gt 1 ]; then
	# Stopped first, so that it starts no further children meanwhile. Postgres'
	# backends are not in its process group; the others' children are.
	kill -s STOP "$pid"
	children=$(cat "/proc/$pid/task/$pid/children" ||
		ps -A -o pid= -o ppid= | awk -v p="$pid" '$2 == p { print $1 }')
	kill -s KILL -- "-$pid"
	for child in $children; do kill -s KILL "$child"; done
fi

# A killed Postgres leaves its System V interlock segment: line 7, second word.
if [ -f "$folder/data/postmaster.pid" ]; then
	segment=$(sed -n '7s/.* //p' "$folder/data/postmaster.pid")
	[ -n "$segment" ] && ipcrm -m "$segment"
fi

# What was killed a moment ago may still be writing its last file.
tries=0
while [ -e "$folder" ] && [ "$tries" -lt 300 ]; do
	rm -rf "$folder" || sleep 0.1
	tries=$((tries + 1))
done
exit 0
